// model inspect, verify, plan.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "model/inspect.h"
#include "runtime/cli/support.h"
#include "runtime/resources.h"

namespace longhaul::cli {

int model_inspect(const ModelCommandOptions& options) {
  auto folder = model_folder(options.common);
  if (!folder) return fail(options.common, folder.error());
  // Headers are enough: a checkpoint can be looked at before its data has arrived.
  auto checkpoint = model::Checkpoint::open(*folder, true);
  if (!checkpoint) return fail(options.common, checkpoint.error());
  const model::ModelReport report = model::inspect(**checkpoint);
  if (options.common.json) {
    print_json(model::to_json(report));
  } else {
    fmt::print("{}", model::to_table(report));
  }
  return kExitDone;
}

int model_verify(const ModelCommandOptions& options) {
  auto folder = model_folder(options.common);
  if (!folder) return fail(options.common, folder.error());
  auto checkpoint = model::Checkpoint::open(*folder);
  if (!checkpoint) return fail(options.common, checkpoint.error());
  auto computed = [&] {
    Progress progress("reading " + *folder);
    return (*checkpoint)->digest("", progress.callback());
  }();
  if (!computed) return fail(options.common, computed.error());
  const std::string digest = computed->hex();
  // What the bytes ought to be: compiled in for the built-in model, else what was read when the files were new.
  std::string known = options.common.model.empty() ? runtime::builtin_model_digest() : "";
  if (const std::string cache = digest_cache(options.common); !options.common.model.empty() && !cache.empty()) {
    if (auto remembered = (*checkpoint)->remembered_digest(cache)) known = remembered->hex();
    // From here on the files go by what they are: sessions of the model as it was are refused.
    (*checkpoint)->remember_digest(cache, *computed);
  }
  const bool ok = known.empty() || known == digest;
  if (options.common.json) {
    json::object line{{"model", *folder}, {"digest", digest}, {"bytes", (*checkpoint)->total_bytes()}, {"ok", ok}};
    if (!known.empty()) line["expected"] = known;
    print_json(line);
  } else {
    fmt::print("{}\n{}\n", digest, *folder);
  }
  if (!ok) {
    return fail(options.common, corruption(fmt::format("{}: digest {}, expected {}", *folder, digest, known)));
  }
  return kExitDone;
}

int model_plan(const ModelCommandOptions& options) {
  auto folder = model_folder(options.common);
  if (!folder) return fail(options.common, folder.error());
  auto checkpoint = model::Checkpoint::open(*folder, true);
  if (!checkpoint) return fail(options.common, checkpoint.error());
  std::uint64_t memory =
      static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGE_SIZE));
  if (!options.memory.empty()) {
    auto bytes = parse_bytes(options.memory);
    if (!bytes) return fail(options.common, bytes.error());
    memory = *bytes;
  }
  const model::ModelReport report = model::inspect(**checkpoint);
  std::int64_t context = options.context;
  if (context == 0) context = std::max<std::int64_t>(1, (*checkpoint)->config().max_position_embeddings);
  auto planned = model::plan(report, {.memory_bytes = memory, .context = context, .n_sequences = options.sequences});
  if (!planned) return fail(options.common, planned.error());
  if (options.common.json) {
    print_json(model::to_json(*planned));
  } else {
    fmt::print("{}", model::to_table(*planned));
  }
  return kExitDone;
}

}  // namespace longhaul::cli
