// Runs the model over a session's recorded tokens: compares the stored states, bit for bit (contract C1), or makes them
// again where a repair has dropped them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "runtime/base/result.h"
#include "runtime/model_host.h"
#include "sessions/session_manager.h"

namespace longhaul::runtime {

// Empty: the newest stored state equals the recomputed one (or there is none). Else what differs. `progress` gets
// tokens done and total.
Result<std::string> deep_verify(sessions::SessionManager& manager, const std::string& name, ModelHost& model,
                                const std::function<void(std::uint64_t, std::uint64_t)>& progress);

// Feeds what the newest stored state has not seen and stores the state, with the pages that are missing. Gives how many
// tokens were fed; 0: nothing was missing.
Result<std::uint64_t> rebuild_state(sessions::SessionManager& manager, const std::string& name, ModelHost& model,
                                    const std::function<void(std::uint64_t, std::uint64_t)>& progress);

}  // namespace longhaul::runtime
