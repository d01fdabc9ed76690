// Where the files that ship with the program lie: the built-in model, the plugins, the default agent.
#pragma once

#include <string>

#include "runtime/base/result.h"

namespace longhaul::runtime {

// The folder that holds model/pico, tools/plugins and runtime/agents: $LONGHAUL_RESOURCES, else beside the program
// (build/longhaul in a checkout, bin/longhaul with share/longhaul when installed), else the source folder of the
// build. kNotFound lists the places looked at.
Result<std::string> resource_folder();

// The digest of the built-in model that this build was made with; empty if it was built without one.
std::string builtin_model_digest();

// $LONGHAUL_STORE, else $XDG_DATA_HOME/longhaul, else ~/.local/share/longhaul.
Result<std::string> default_store();

}  // namespace longhaul::runtime
