// Shows a trajectory: for a person as it streams, or as one JSON object a line.
#pragma once

#include <memory>
#include <string>

#include "runtime/events.h"

namespace longhaul::cli {

// `{"event":KIND,"session":NAME,"position":N,...}`, a line each, flushed.
std::unique_ptr<runtime::EventSink> make_json_printer();

// Labels, colours only on a terminal, reasoning dimmed, long results cut with a note.
std::unique_ptr<runtime::EventSink> make_human_printer();

}  // namespace longhaul::cli
