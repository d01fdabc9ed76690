#include "model/inspect.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "model/engine.h"
#include "tests/support/checkpoint_writer.h"

namespace longhaul::model {
namespace {

using testing::read_bytes;
using testing::TemporaryFolder;
using testing::tiny_config;
using testing::write_checkpoint;
using testing::write_headers_only;

ModelReport published(const std::string& model) {
  const std::string root = std::string(LONGHAUL_SOURCE_DIR) + "/tests/golden/model/configs/";
  TemporaryFolder folder;
  write_headers_only(folder.path(), read_bytes(root + model + ".json"), read_bytes(root + "generation_config.json"), 3);
  auto checkpoint = Checkpoint::open(folder.path(), true);
  EXPECT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
  return inspect(**checkpoint);
}

// Published totals; active parameters count both embeddings.
TEST(Inspect, PublishedModels) {
  struct Case {
    const char* model;
    std::int64_t parameters, mtp;
    double active_billions;
    std::uint64_t ssm, conv, kv, mtp_kv;
  };
  for (const Case& test : {
           Case{"nano", 31'577'940'288, 0, 3.580, 48'234'496, 847'872, 6144, 0},
           Case{"lightning", 31'577'940'288, 1'335'325'952, 3.580, 48'234'496, 847'872, 6144, 1024},
           Case{"super", 120'668'707'840, 2'942'325'248, 12.770, 167'772'160, 2'457'600, 8192, 1024},
           Case{"ultra", 549'308'993'536, 11'215'610'368, 56.06, 402'653'184, 5'308'416, 12288, 1024},
       }) {
    const ModelReport report = published(test.model);
    EXPECT_EQ(report.parameters, test.parameters) << test.model;
    EXPECT_EQ(report.mtp_parameters, test.mtp) << test.model;
    EXPECT_LT(std::abs(static_cast<double>(report.active_parameters) / 1e9 - test.active_billions), 0.006)
        << test.model;
    EXPECT_EQ(report.ssm_bytes, test.ssm) << test.model;
    EXPECT_EQ(report.conv_bytes, test.conv) << test.model;
    EXPECT_EQ(report.kv_bytes_per_token, test.kv) << test.model;
    EXPECT_EQ(report.mtp_kv_bytes_per_token, test.mtp_kv) << test.model;
    // BF16 but for the router biases.
    EXPECT_EQ(report.types.size(), 2U) << test.model;
    EXPECT_GE(report.disk_bytes, 2 * static_cast<std::uint64_t>(test.parameters + test.mtp)) << test.model;
    EXPECT_FALSE(report.quantised);
    std::int64_t sum = 0;
    for (const ModelReport::Part& part : report.parts) sum += part.parameters;
    EXPECT_EQ(sum, test.parameters + test.mtp);
  }
  // What lies in memory of Lightning: everything once, 16-row panels cost next to nothing there.
  const ModelReport lightning = published("lightning");
  const double ratio =
      static_cast<double>(lightning.weights_bytes + lightning.mapped_bytes) / static_cast<double>(lightning.disk_bytes);
  EXPECT_GT(ratio, 1.0);
  EXPECT_LT(ratio, 1.001);
}

TEST(Inspect, TheLayoutIsTheEngines) {
  for (bool bf16 : {false, true}) {
    TemporaryFolder folder;
    write_checkpoint(folder.path(), tiny_config(), bf16, 1);
    auto checkpoint = Checkpoint::open(folder.path());
    ASSERT_TRUE(checkpoint.has_value());
    const ModelReport report = inspect(**checkpoint);
    auto engine = Engine::load(std::shared_ptr<const Checkpoint>(std::move(*checkpoint)), {});
    ASSERT_TRUE(engine.has_value()) << engine.error().message;
    EXPECT_EQ(report.layout, (*engine)->layout());
    EXPECT_EQ(report.ssm_bytes + report.conv_bytes, (*engine)->layout().fixed_bytes());
  }
}

TEST(Inspect, JsonAndTable) {
  TemporaryFolder folder;
  write_checkpoint(folder.path(), tiny_config(), true, 1);
  auto checkpoint = Checkpoint::open(folder.path());
  ASSERT_TRUE(checkpoint.has_value());
  const ModelReport report = inspect(**checkpoint);
  const json::object object = to_json(report);
  EXPECT_EQ(object.at("schedule").get_string(), "MEM*E-");
  EXPECT_EQ(object.at("parameters").to_number<std::int64_t>(), report.parameters);
  EXPECT_EQ(object.at("parts").get_array().size(), 6U);
  const std::string table = to_table(report);
  for (const char* word :
       {"MEM*E-", "2 x mamba", "1 x attention", "2 x moe", "1 x mlp", "2 x mtp", "latent width 8", "BF16"}) {
    EXPECT_NE(table.find(word), std::string::npos) << word << "\n" << table;
  }
}

TEST(Plan, BoundsAreTight) {
  const ModelReport report = published("nano");
  const std::uint64_t gib = std::uint64_t{1} << 30;
  auto planned = plan(report, {80 * gib, 1 << 20, 2});
  ASSERT_TRUE(planned.has_value());
  EXPECT_TRUE(planned->fits);
  // 6 GiB of KV at 2^20 tokens and 46.8 MiB of state.
  EXPECT_EQ(planned->sequence_bytes, 6 * gib + 48'234'496 + 847'872);
  for (std::int64_t more : {0, 128}) {
    auto longer = plan(report, {80 * gib, planned->context_max + more, 2});
    EXPECT_EQ(longer->fits, more == 0);
  }
  for (std::int64_t more : {0, 1}) {
    auto wider = plan(report, {80 * gib, 1 << 20, planned->n_sequences_max + more});
    EXPECT_EQ(wider->fits, more == 0);
  }
  auto none = plan(report, {8 * gib, 0, 1});
  EXPECT_FALSE(none->fits);
  EXPECT_EQ(none->context_max, 0);
  EXPECT_EQ(none->n_sequences_max, 0);
  EXPECT_NE(to_table(*none).find("does not fit"), std::string::npos);
  EXPECT_FALSE(to_json(*none).at("fits").get_bool());

  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  auto huge = plan(report, {std::numeric_limits<std::uint64_t>::max() - 1, most, most});
  ASSERT_TRUE(huge.has_value());
  EXPECT_FALSE(huge->fits);
  EXPECT_EQ(plan(report, {gib, -1, 1}).error().message, "context -1 is below 0");
  EXPECT_EQ(plan(report, {gib, 1, 0}).error().message, "0 sequences, expected 1 or more");
}

}  // namespace
}  // namespace longhaul::model
