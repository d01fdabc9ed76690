// The log front: key=value lines on stderr through spdlog. Kernels and libraries never log; prompts and tool
// arguments are logged only at debug. Levels: error (someone must act), warn, info (start, stop, a line a turn), debug.
#pragma once

#include <string>
#include <string_view>

namespace longhaul {

enum class LogLevel { kDebug, kInfo, kWarn, kError, kOff };

void set_log_level(LogLevel level);
// `fields` is already key=value text, e.g. fmt::format("session={} turn={}", name, turn).
void log(LogLevel level, std::string_view event, std::string_view fields = {});

}  // namespace longhaul
