#include "model/config.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <numeric>
#include <string>

#include "model/checkpoint.h"
#include "tests/support/checkpoint_writer.h"

namespace longhaul::model {
namespace {

using ::longhaul::model::testing::read_bytes;
using ::longhaul::model::testing::tiny_config;

std::string golden(const std::string& name) {
  return read_bytes(std::string(LONGHAUL_SOURCE_DIR) + "/tests/golden/model/configs/" + name);
}

Result<ModelConfig> published(const std::string& model) {
  return parse_model_config(golden(model + ".json"), golden("generation_config.json"), model + "/config.json");
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

std::string error_of(const std::string& config, std::string_view generation = "") {
  auto parsed = parse_model_config(config, generation, "/m/config.json");
  EXPECT_FALSE(parsed.has_value()) << config;
  return parsed.has_value() ? "" : parsed.error().message;
}

struct Counts {
  std::size_t tensors = 0, mtp_tensors = 0;
  std::int64_t elements = 0, mtp_elements = 0;
};

Counts count(const ModelConfig& config) {
  Counts counts;
  for (const ExpectedTensor& tensor : expected_tensors(config)) {
    const std::int64_t n =
        std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::int64_t{1}, std::multiplies<>());
    const bool mtp = tensor.name.starts_with("mtp.");
    (mtp ? counts.mtp_elements : counts.elements) += n;
    counts.mtp_tensors += mtp;
    ++counts.tensors;
  }
  return counts;
}

// Totals published with the checkpoints (Lightning's index) or printed by other engines.
TEST(Config, PublishedModelsHaveTheirTensorsAndParameters) {
  struct Expected {
    const char* model;
    std::size_t tensors, mtp_tensors;
    std::int64_t elements, mtp_elements;
  };
  for (const Expected& expected : {
           Expected{"nano", 6243, 0, 31'577'940'288, 0},
           Expected{"lightning", 6513, 270, 31'577'940'288, 1'335'325'952},
           Expected{"super", 42683, 1040, 120'668'707'840, 2'942'325'248},
           Expected{"ultra", 51023, 1040, 549'308'993'536, 11'215'610'368},
       }) {
    auto config = published(expected.model);
    ASSERT_TRUE(config.has_value()) << config.error().message;
    const Counts counts = count(*config);
    EXPECT_EQ(counts.tensors, expected.tensors) << expected.model;
    EXPECT_EQ(counts.mtp_tensors, expected.mtp_tensors) << expected.model;
    EXPECT_EQ(counts.elements, expected.elements) << expected.model;
    EXPECT_EQ(counts.mtp_elements, expected.mtp_elements) << expected.model;
    EXPECT_EQ(config->eos_tokens, (std::vector<TokenId>{2, 11})) << expected.model;
  }
}

TEST(Config, UltraDepthComesFromItsList) {
  auto config = published("ultra");
  ASSERT_TRUE(config.has_value()) << config.error().message;
  EXPECT_EQ(config->layers.size(), 108U);
  EXPECT_EQ(config->layers[98], LayerKind::kAttention);
  EXPECT_EQ(config->d_latent, 2048);
  EXPECT_EQ(config->expert_io(), 2048);
  EXPECT_EQ(config->d_inner(), 16384);
  EXPECT_EQ(config->conv_channels(), 18432);
  EXPECT_EQ(config->in_proj_rows(), 35072);
  EXPECT_EQ(config->mtp_layers, (std::vector<LayerKind>{LayerKind::kAttention, LayerKind::kMoe}));
  EXPECT_EQ(config->routed_scaling_factor, 5.0F);
}

TEST(Config, EverySpellingOfTheScheduleIsTheSameModel) {
  const std::string pattern = tiny_config("ME*-");
  auto expected = parse_model_config(pattern, "", "a");
  ASSERT_TRUE(expected.has_value()) << expected.error().message;
  for (const char* spelling : {
           R"("layers_block_type":["mamba","moe","attention","mlp"])",
           R"("layer_types":["linear_attention","moe","full_attention","mlp"])",
           R"("layers_block_type":["linear_attention","moe","full_attention","mlp"],"num_hidden_layers":4)",
           R"("hybrid_override_pattern":"M|E*|-")",
           R"("hybrid_override_pattern":"ME*-","layers_block_type":["mamba","moe","attention","mlp"])",
       }) {
    const std::string text = replaced(pattern, R"("hybrid_override_pattern":"ME*-")", spelling);
    auto config = parse_model_config(text, "", "b");
    ASSERT_TRUE(config.has_value()) << config.error().message << "\n" << text;
    EXPECT_EQ(*config, *expected) << spelling;
  }
  for (const char* spelling :
       {R"("mtp_layers_block_type":["attention","moe"])", R"("mtp_layers_block_type":["full_attention","moe"])"}) {
    auto config = parse_model_config(replaced(pattern, R"("mtp_hybrid_override_pattern":"*E")", spelling), "", "c");
    ASSERT_TRUE(config.has_value()) << config.error().message;
    EXPECT_EQ(*config, *expected) << spelling;
  }
  // The unified pattern carries the MTP part; the separate field is then not needed.
  std::string unified =
      replaced(pattern, R"("hybrid_override_pattern":"ME*-")", R"("hybrid_override_pattern":"ME*-/*E/*E")");
  unified = replaced(unified, R"("num_nextn_predict_layers":1,"mtp_hybrid_override_pattern":"*E",)", "");
  auto config = parse_model_config(unified, "", "d");
  ASSERT_TRUE(config.has_value()) << config.error().message;
  EXPECT_EQ(*config, *expected);
}

TEST(Config, AliasesMeanTheSame) {
  const std::string plain = tiny_config();
  auto expected = parse_model_config(plain, "", "a");
  ASSERT_TRUE(expected.has_value());
  for (auto [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"\"head_dim\"", "\"attention_head_dim\""},
           {"\"layer_norm_epsilon\"", "\"rms_norm_eps\""},
           {"\"layer_norm_epsilon\"", "\"norm_eps\""},
           {"\"n_groups\"", "\"mamba_n_groups\""},
           {"\"conv_kernel\"", "\"mamba_d_conv\""},
           {"\"n_routed_experts\"", "\"num_local_experts\""},
           {"\"layer_norm_epsilon\":1e-5", "\"norm_eps\":1e-5,\"layer_norm_epsilon\":1e-5"},
           {"\"n_group\":1", "\"n_group\":1,\"torch_dtype\":\"float32\""},
           {"\"n_group\":1", "\"n_group\":1,\"time_step_limit\":[0.0,Infinity]"},
           {"\"n_group\":1", "\"n_group\":1,\"time_step_limit\":[-Infinity, 1e308]"},
           {"\"n_group\":1", "\"n_group\":1,\"time_step_limit\":[0.0, 1e20]"},
           {"\"n_group\":1", "\"n_group\":1,\"time_step_limit\":[0.0, {\"__float__\": \"Infinity\"}]"},
           {"\"n_group\":1", "\"n_group\":1,\"time_step_limit\":[{\"__float__\": \"-Infinity\"}, 1e308]"},
           {"\"n_group\":1", "\"n_group\":1,\"mamba_dt_limit\":[0, NaN]"},
           {"\"n_group\":1", "\"n_group\":1,\"note\":\"Infinity \\\" NaN\""},
       }) {
    const std::string text = replaced(plain, from, to);
    auto config = parse_model_config(text, "", "b");
    ASSERT_TRUE(config.has_value()) << config.error().message << "\n" << text;
    EXPECT_EQ(*config, *expected) << to;
  }
}

TEST(Config, NoLatentHasThreeSpellings) {
  const std::string null = tiny_config("ME*-", false);
  auto expected = parse_model_config(null, "", "a");
  ASSERT_TRUE(expected.has_value());
  EXPECT_EQ(expected->d_latent, 0);
  EXPECT_EQ(expected->expert_io(), expected->d_model);
  for (const char* spelling : {"\"moe_latent_size\":0,", ""}) {
    auto config = parse_model_config(replaced(null, "\"moe_latent_size\":null,", spelling), "", "b");
    ASSERT_TRUE(config.has_value());
    EXPECT_EQ(*config, *expected);
  }
}

TEST(Config, AWrapperIsOpened) {
  auto expected = parse_model_config(tiny_config(), "", "a");
  ASSERT_TRUE(expected.has_value());
  for (const char* wrapper : {"llm_config", "text_config"}) {
    auto config =
        parse_model_config(fmt::format(R"({{"model_type":"vision","{}":{}}})", wrapper, tiny_config()), "", "b");
    ASSERT_TRUE(config.has_value()) << config.error().message;
    EXPECT_EQ(*config, *expected);
  }
}

TEST(Config, EndTokensComeFromBothFiles) {
  auto ends = [](std::string_view generation) {
    auto config = parse_model_config(tiny_config(), generation, "/m/config.json");
    EXPECT_TRUE(config.has_value());
    return config.has_value() ? config->eos_tokens : std::vector<TokenId>{};
  };
  EXPECT_EQ(ends(""), (std::vector<TokenId>{2}));
  EXPECT_EQ(ends("{}"), (std::vector<TokenId>{2}));
  EXPECT_EQ(ends(R"({"eos_token_id":11})"), (std::vector<TokenId>{2, 11}));
  EXPECT_EQ(ends(R"({"eos_token_id":[11,2,5]})"), (std::vector<TokenId>{2, 5, 11}));
  EXPECT_EQ(error_of(tiny_config(), R"({"eos_token_id":[2,40]})"),
            "/m/generation_config.json: field \"eos_token_id\" is [2,40], expected token ids below 40");
}

// Each wrong value is named with its field, the value and the file.
TEST(Config, WrongValuesAreNamed) {
  struct Case {
    const char* from;
    const char* to;
    const char* message;  // part of it
  };
  for (const Case& test : {
           Case{"\"hidden_size\":16", "\"hidden_size\":-3",
                "field \"hidden_size\" is -3, expected a whole number from 1"},
           Case{"\"hidden_size\":16", "\"hidden_size\":0", "field \"hidden_size\" is 0"},
           Case{"\"hidden_size\":16", "\"hidden_size\":16.5", "field \"hidden_size\" is 16.5"},
           Case{"\"hidden_size\":16", "\"hidden_size\":\"16\"", "field \"hidden_size\" is \"16\""},
           Case{"\"hidden_size\":16", "\"hidden_size\":Infinity", "field \"hidden_size\" is 1e+308"},
           Case{"\"hidden_size\":16", "\"hidden_size\":9223372036854775807",
                "field \"hidden_size\" is 9223372036854775807"},
           Case{"\"hidden_size\":16,", "", "field \"hidden_size\" is missing"},
           Case{"\"hidden_size\":16,", "\"hidden_size\":16,\"hidden_size\":16,", "\"hidden_size\" stands there twice"},
           Case{"\"vocab_size\":40", "\"vocab_size\":0", "field \"vocab_size\" is 0"},
           Case{"\"vocab_size\":40", "\"vocab_size\":99999999999", "field \"vocab_size\" is 99999999999"},
           Case{"\"hybrid_override_pattern\":\"MEM*E-\",", "", "no layer schedule"},
           Case{"\"MEM*E-\"", "\"MEX*E-\"", "has the layer 'X' at position 2"},
           Case{"\"MEM*E-\"", "\"\"", "names 0 layers"},
           Case{"\"MEM*E-\"", "17", "field \"hybrid_override_pattern\" is 17"},
           Case{"\"MEM*E-\"", "[\"mamba\",\"window\"]", "has the layer \"window\" at position 1"},
           Case{"\"MEM*E-\"", "\"MEM*E-\",\"num_hidden_layers\":7", "\"num_hidden_layers\" is 7, but"},
           Case{"\"MEM*E-\"", "\"MEM*E-\",\"layers_block_type\":[\"mamba\"]", "differ"},
           Case{"\"mamba_num_heads\":4", "\"mamba_num_heads\":5",
                "\"mamba_num_heads\" is 5, not a multiple of \"n_groups\", 2"},
           Case{"\"n_groups\":2", "\"n_groups\":0", "field \"n_groups\" is 0"},
           Case{"\"n_groups\":2", "\"n_groups\":2,\"mamba_n_groups\":4",
                "\"n_groups\" is 2 but \"mamba_n_groups\" is 4"},
           Case{"\"ssm_state_size\":8", "\"ssm_state_size\":100000", "field \"ssm_state_size\" is 100000"},
           Case{"\"mamba_num_heads\":4,\"mamba_head_dim\":8", "\"mamba_num_heads\":65536,\"mamba_head_dim\":4096",
                "is above"},
           Case{"\"num_key_value_heads\":2", "\"num_key_value_heads\":3",
                "not a multiple of \"num_key_value_heads\", 3"},
           Case{"\"num_key_value_heads\":2", "\"num_key_value_heads\":0", "field \"num_key_value_heads\" is 0"},
           Case{"\"num_experts_per_tok\":2", "\"num_experts_per_tok\":5", "can reach 4 experts"},
           Case{"\"n_group\":1", "\"n_group\":3", "not a multiple of \"n_group\", 3"},
           Case{"\"topk_group\":1", "\"topk_group\":2", "\"topk_group\" is 2, above \"n_group\", 1"},
           Case{"\"n_group\":1", "\"n_group\":4", "a group needs two"},
           Case{"\"n_routed_experts\":4", "\"n_routed_experts\":65536,\"hybrid_override_pattern\":\"EEEEE\"",
                "stands there twice"},
           Case{"\"routed_scaling_factor\":2.5", "\"routed_scaling_factor\":-1",
                "field \"routed_scaling_factor\" is -1"},
           Case{"\"layer_norm_epsilon\":1e-5", "\"layer_norm_epsilon\":0", "field \"layer_norm_epsilon\" is 0"},
           Case{"\"num_nextn_predict_layers\":1", "\"num_nextn_predict_layers\":2", "only one MTP module"},
           Case{"\"mtp_hybrid_override_pattern\":\"*E\"", "\"mtp_hybrid_override_pattern\":\"M\"", "has a Mamba layer"},
           Case{"\"mtp_hybrid_override_pattern\":\"*E\",", "", "MTP schedule names 0 layers"},
           Case{"\"eos_token_id\":2", "\"eos_token_id\":-1", "field \"eos_token_id\" is -1"},
           Case{"\"bos_token_id\":1", "\"bos_token_id\":40", "field \"bos_token_id\" is 40"},
           Case{"\"n_group\":1", "\"n_group\":1,\"time_step_limit\":[0.001,1e308]", "dt is not clamped here"},
           Case{"\"n_group\":1", "\"n_group\":1,\"time_step_limit\":[0.0,0.1]", "dt is not clamped here"},
           Case{"\"n_group\":1", "\"n_group\":1,\"time_step_limit\":[0.0]", "expected two numbers"},
           Case{"\"n_group\":1", "\"n_group\":1,\"time_step_limit\":[0.0,{\"__float__\":\"much\"}]",
                "expected two numbers"},
           Case{"\"n_group\":1", "\"n_group\":1,\"time_step_limit\":[{\"__float__\":\"Infinity\"},1e308]",
                "dt is not clamped here"},
           Case{"\"n_group\":1", "\"n_group\":1,\"mlp_hidden_act\":\"gelu\"", "only \"relu2\" is computed"},
           Case{"\"n_group\":1", "\"n_group\":1,\"residual_in_fp32\":true", "only false is computed"},
           Case{"\"n_group\":1", "\"n_group\":1,\"sliding_window\":512", "field \"sliding_window\" is 512"},
           Case{"\"n_group\":1", "\"n_group\":1,\"n_shared_experts\":2", "field \"n_shared_experts\" is 2"},
           Case{"\"n_group\":1", "\"n_group\":1,\"block_configs\":[]", "\"block_configs\""},
           Case{"\"n_group\":1", "\"n_group\":1,\"longhaul_chat_format\":\"x\"", "\"longhaul_chat_format\" is \"x\""},
           Case{"\"n_group\":1", "\"n_group\":1,\"torch_dtype\":\"int8\"", "field \"dtype\" is \"int8\""},
           Case{"\"nemotron_h\"", "\"llama\"", "field \"model_type\" is \"llama\", only \"nemotron_h\" is computed"},
       }) {
    const std::string message = error_of(replaced(tiny_config(), test.from, test.to));
    EXPECT_NE(message.find(test.message), std::string::npos) << test.to << "\n" << message;
    EXPECT_TRUE(message.starts_with("/m/config.json")) << message;
  }
}

TEST(Config, AHostileExpertCountDoesNotBecomeAList) {
  const std::string text =
      replaced(tiny_config(std::string(64, 'E')), "\"n_routed_experts\":4", "\"n_routed_experts\":65536");
  EXPECT_NE(error_of(text).find("at most 262144 in all"), std::string::npos);
}

TEST(Config, BrokenTextIsNamed) {
  EXPECT_NE(error_of("").find("not JSON"), std::string::npos);
  EXPECT_NE(error_of("[]").find("not a JSON object"), std::string::npos);
  EXPECT_NE(error_of("{\"a\":-NaN}").find("not JSON"), std::string::npos);
  EXPECT_NE(error_of("{\"hidden_size\": \"\xff\"}").find("not JSON"), std::string::npos);
  const std::string whole = tiny_config();
  for (std::size_t n = 0; n < whole.size(); ++n) EXPECT_FALSE(error_of(whole.substr(0, n)).empty());
}

}  // namespace
}  // namespace longhaul::model
