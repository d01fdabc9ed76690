// The built-in model's folder as any other checkpoint: opened, checked, its parts fitting each other.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "model/chat.h"
#include "model/checkpoint.h"
#include "model/inspect.h"
#include "model/tokenizer.h"

namespace longhaul::model {
namespace {

const std::string kFolder = std::string(LONGHAUL_SOURCE_DIR) + "/model/pico";

TEST(Pico, ItsPartsFit) {
  auto checkpoint = Checkpoint::open(kFolder);
  ASSERT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
  auto tokenizer = Tokenizer::load(kFolder);
  ASSERT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  const ModelConfig& config = (*checkpoint)->config();
  const Vocabulary& vocabulary = (*tokenizer)->vocabulary();
  EXPECT_TRUE(check_vocabulary(vocabulary, config.vocab_size, kFolder).has_value());
  auto variant = choose_chat_variant(kFolder, config, "");
  ASSERT_TRUE(variant.has_value()) << variant.error().message;
  EXPECT_EQ(*variant, ChatVariant::kNano);
  for (const char* name : {"<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>",
                           "<tool_response>", "</tool_response>"}) {
    EXPECT_TRUE(vocabulary.control(name).has_value()) << name;
  }
  // A chat turn ends with <|im_end|>, so that has to be an end token.
  EXPECT_EQ(
      std::count(config.eos_tokens.begin(), config.eos_tokens.end(), vocabulary.control("<|im_end|>").value_or(0)), 1);
  EXPECT_TRUE((*checkpoint)->digest("").has_value());
}

// Every layer kind that the README promises, within the size that ships.
TEST(Pico, IsANemotronInSmall) {
  auto checkpoint = Checkpoint::open(kFolder);
  ASSERT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
  const ModelReport report = inspect(**checkpoint);
  EXPECT_GE(report.parameters, 1'000'000);
  EXPECT_LE(report.parameters, 6'000'000);
  EXPECT_LE(report.disk_bytes, std::uint64_t{16} << 20);
  EXPECT_GT(report.mtp_parameters, 0);
  EXPECT_GT(report.d_latent, 0);
  for (char kind : {'M', 'E', '*'}) EXPECT_NE(report.schedule.find(kind), std::string::npos) << kind;
}

}  // namespace
}  // namespace longhaul::model
