#include "model/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/checkpoint_writer.h"

namespace longhaul::model {
namespace {

using namespace ::longhaul::model::testing;  // NOLINT: the writer's functions are the vocabulary of this file

std::string error_of(const std::string& folder, bool headers_only = false) {
  auto checkpoint = Checkpoint::open(folder, headers_only);
  EXPECT_FALSE(checkpoint.has_value());
  return checkpoint.has_value() ? "" : checkpoint.error().message;
}

std::string golden(const std::string& name) {
  return read_bytes(std::string(LONGHAUL_SOURCE_DIR) + "/tests/golden/model/configs/" + name);
}

Digest digest_of_folder(const std::string& folder) {
  auto checkpoint = Checkpoint::open(folder);
  EXPECT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
  auto digest = (*checkpoint)->digest("");
  EXPECT_TRUE(digest.has_value());
  return *digest;
}

TEST(Checkpoint, ReadsWhatWasWritten) {
  for (std::size_t n_shards : {1U, 3U}) {
    TemporaryFolder folder;
    write_checkpoint(folder.path(), tiny_config(), true, 7, n_shards);
    auto checkpoint = Checkpoint::open(folder.path());
    ASSERT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
    const auto written = random_tensors((*checkpoint)->config(), true, 7);
    ASSERT_EQ((*checkpoint)->tensors().size(), written.size());
    std::uint64_t bytes = 0;
    for (const TestTensor& tensor : written) {
      const TensorView* view = (*checkpoint)->find(tensor.name);
      ASSERT_NE(view, nullptr) << tensor.name;
      EXPECT_EQ(view->shape, tensor.shape);
      EXPECT_EQ(to_string(view->dtype), tensor.dtype);
      EXPECT_EQ(std::string(reinterpret_cast<const char*>(view->bytes.data()), view->bytes.size()), tensor.bytes);
      EXPECT_EQ(view->n_elements() * static_cast<std::int64_t>(element_bytes(view->dtype)),
                static_cast<std::int64_t>(tensor.bytes.size()));
      bytes += tensor.bytes.size();
    }
    EXPECT_EQ((*checkpoint)->total_bytes(), bytes);
    EXPECT_EQ((*checkpoint)->find("backbone.layers.0.nothing"), nullptr);
  }
}

TEST(Checkpoint, EveryLayerPatternAndTiedEmbeddings) {
  for (const std::string& config :
       {tiny_config("ME*", false, false), tiny_config("M-M*-", false, false), tiny_config("EM*E-", true, true),
        tiny_config("M*E", true, true, "\"tie_word_embeddings\":true,"),
        tiny_config("M*-", false, false, "\"use_bias\":true,\"attention_bias\":true,\"mlp_bias\":true,"),
        tiny_config("M*", false, false, "\"use_conv_bias\":false,")}) {
    TemporaryFolder folder;
    write_checkpoint(folder.path(), config, false, 1);
    auto checkpoint = Checkpoint::open(folder.path());
    ASSERT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
    EXPECT_EQ((*checkpoint)->find("lm_head.weight") == nullptr, (*checkpoint)->config().tie_word_embeddings);
  }
}

TEST(Checkpoint, ThePrefixInMemoryIsReadAsTheOneOnDisk) {
  TemporaryFolder folder;
  write_checkpoint(folder.path(), tiny_config(), true, 3);
  const Digest expected = digest_of_folder(folder.path());
  auto config = parse_model_config(tiny_config(), "", "config.json");
  ASSERT_TRUE(config.has_value());
  auto tensors = random_tensors(*config, true, 3);
  for (TestTensor& tensor : tensors) {
    if (tensor.name.starts_with("backbone.")) tensor.name = "model." + tensor.name.substr(9);
  }
  for (std::size_t n_shards : {1U, 2U}) {
    TemporaryFolder other;
    write_bytes(other.file("config.json"), tiny_config());
    write_tensors(other.path(), tensors, n_shards);
    EXPECT_EQ(digest_of_folder(other.path()), expected);
  }
}

TEST(Checkpoint, HeadersOfThePublishedModels) {
  struct Case {
    const char* model;
    std::size_t n_tensors;
  };
  for (const Case& test : {Case{"nano", 6243}, Case{"lightning", 6513}, Case{"super", 42683}, Case{"ultra", 51023}}) {
    TemporaryFolder folder;
    write_headers_only(folder.path(), golden(std::string(test.model) + ".json"), golden("generation_config.json"), 14);
    auto checkpoint = Checkpoint::open(folder.path(), true);
    ASSERT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
    EXPECT_EQ((*checkpoint)->tensors().size(), test.n_tensors);
    // Without the switch the missing data is named.
    EXPECT_NE(error_of(folder.path()).find("bytes of data, the file has 0"), std::string::npos);
    EXPECT_FALSE((*checkpoint)->digest("").has_value());
  }
}

// ModelOpt's layout: packed codes, block scales, scalars. Named and refused to compute with, readable for inspection.
TEST(Checkpoint, QuantisedTensorsAreRefusedByName) {
  const std::string config_json = tiny_config("ME", false, false, "\"note\":0,");
  std::string text = config_json;
  auto config = parse_model_config(text, "", "config.json");
  ASSERT_TRUE(config.has_value());
  std::vector<TestTensor> tensors;
  for (const ExpectedTensor& expected : expected_tensors(*config)) {
    std::int64_t n = 1;
    for (std::int64_t extent : expected.shape) n *= extent;
    const std::string stem = expected.name.substr(0, expected.name.size() - 7);
    if (expected.name.find(".experts.") != std::string::npos && expected.shape[1] % 16 == 0) {
      tensors.push_back({expected.name,
                         "U8",
                         {expected.shape[0], expected.shape[1] / 2},
                         std::string(static_cast<std::size_t>(n / 2), '\0')});
      tensors.push_back({stem + ".weight_scale",
                         "F8_E4M3",
                         {expected.shape[0], expected.shape[1] / 16},
                         std::string(static_cast<std::size_t>(n / 16), '\0')});
      tensors.push_back({stem + ".weight_scale_2", "F32", {}, std::string(4, '\0')});
      tensors.push_back({stem + ".input_scale", "F32", {}, std::string(4, '\0')});
    } else if (expected.name.ends_with("in_proj.weight")) {
      tensors.push_back({expected.name, "F8_E4M3", expected.shape, std::string(static_cast<std::size_t>(n), '\0')});
      tensors.push_back({stem + ".weight_scale", "F32", {}, std::string(4, '\0')});
    } else {
      tensors.push_back({expected.name, "F32", expected.shape, std::string(static_cast<std::size_t>(4 * n), '\0')});
    }
  }
  std::stable_sort(tensors.begin(), tensors.end(), [](const TestTensor& a, const TestTensor& b) {
    return a.dtype < b.dtype;  // F32 first, as the format's writers align
  });
  TemporaryFolder folder;
  write_bytes(folder.file("config.json"), text);
  write_tensors(folder.path(), tensors, 1);
  EXPECT_NE(error_of(folder.path()).find("is F8_E4M3: quantised checkpoints are not read yet"), std::string::npos)
      << error_of(folder.path());
  auto checkpoint = Checkpoint::open(folder.path(), true);
  ASSERT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
  EXPECT_EQ((*checkpoint)->tensors().size(), tensors.size());

  for (TestTensor& tensor : tensors) {
    if (tensor.name.ends_with(".weight_scale_2")) {
      tensor.shape = {2};
      tensor.bytes.resize(8);
      break;
    }
  }
  write_tensors(folder.path(), tensors, 1);
  EXPECT_NE(error_of(folder.path(), true).find("weight_scale_2 is not part of a model"), std::string::npos);
}

class Damaged : public ::testing::Test {
 protected:
  void SetUp() override {
    auto config = parse_model_config(tiny_config(), "", "config.json");
    ASSERT_TRUE(config.has_value());
    tensors_ = random_tensors(*config, true, 5);
    write_bytes(folder_.file("config.json"), tiny_config());
  }
  std::string error() {
    write_tensors(folder_.path(), tensors_, 1);
    return error_of(folder_.path());
  }
  TestTensor& tensor(std::string_view name) {
    for (TestTensor& tensor : tensors_) {
      if (tensor.name == name) return tensor;
    }
    ADD_FAILURE() << name;
    return tensors_[0];
  }

  TemporaryFolder folder_;
  std::vector<TestTensor> tensors_;
};

TEST_F(Damaged, NothingThere) {
  EXPECT_NE(error_of(folder_.path()).find("model.safetensors"), std::string::npos);
  TemporaryFolder empty;
  EXPECT_NE(error_of(empty.path()).find("config.json"), std::string::npos);
  EXPECT_EQ(Checkpoint::open(empty.path()).error().code, ErrorCode::kNotFound);
}

TEST_F(Damaged, NotAFile) {
  std::filesystem::create_directory(folder_.file("model.safetensors"));
  EXPECT_NE(error_of(folder_.path()).find("is not a regular file"), std::string::npos);
  std::filesystem::remove(folder_.file("model.safetensors"));
  ASSERT_EQ(::mkfifo(folder_.file("model.safetensors").c_str(), 0600), 0);
  EXPECT_NE(error_of(folder_.path()).find("is not a regular file"), std::string::npos);
}

TEST_F(Damaged, AMissingTensorIsNamed) {
  std::erase_if(tensors_, [](const TestTensor& tensor) { return tensor.name == "backbone.layers.2.mixer.D"; });
  EXPECT_NE(error().find("tensor backbone.layers.2.mixer.D [4] is missing"), std::string::npos);
}

TEST_F(Damaged, AnUnknownTensorIsNamed) {
  tensors_.push_back({"backbone.layers.9.norm.weight", "F32", {2}, std::string(8, '\0')});
  EXPECT_NE(error().find("tensor backbone.layers.9.norm.weight is not part of a model"), std::string::npos);
}

TEST_F(Damaged, AWrongShapeIsNamedWithBoth) {
  TestTensor& norm = tensor("backbone.norm_f.weight");
  norm.shape = {8};
  norm.bytes.resize(16);
  EXPECT_NE(error().find("tensor backbone.norm_f.weight has shape [8], config.json gives [16]"), std::string::npos);
}

TEST_F(Damaged, ShapeAndBytesMustAgree) {
  tensor("backbone.norm_f.weight").shape = {8};
  EXPECT_NE(error().find("offsets"), std::string::npos);
  tensor("backbone.norm_f.weight").shape = {4611686018427387904, 8};
  EXPECT_NE(error().find("overflows"), std::string::npos);
  tensor("backbone.norm_f.weight").shape = {-16};
  EXPECT_NE(error().find("shape holds something not a size"), std::string::npos);
}

TEST_F(Damaged, OtherTypesAreNamed) {
  TestTensor& norm = tensor("backbone.norm_f.weight");
  norm.dtype = "F16";
  EXPECT_NE(error().find("tensor backbone.norm_f.weight is F16; F32 and BF16 are read"), std::string::npos);
  norm.dtype = "F8_E5M2";
  EXPECT_NE(error().find("tensor backbone.norm_f.weight has dtype \"F8_E5M2\", which is not known"), std::string::npos);
}

// Published files keep the router's bias in F32; a model saved as BF16 by transformers has it in BF16 like the rest.
TEST_F(Damaged, TheRouterBiasMayBeOfEitherType) {
  TestTensor& bias = tensor("backbone.layers.1.mixer.gate.e_score_correction_bias");
  bias.dtype = "BF16";
  bias.bytes.resize(bias.bytes.size() / 2);
  write_tensors(folder_.path(), tensors_, 1);
  auto opened = Checkpoint::open(folder_.path());
  EXPECT_TRUE(opened.has_value()) << opened.error().message;
}

TEST_F(Damaged, TheSameTensorTwice) {
  tensors_.push_back(tensors_[0]);
  EXPECT_FALSE(error().empty());
  tensors_.back().name = "model.embeddings.weight";
  EXPECT_NE(error().find("backbone.embeddings.weight stands there twice"), std::string::npos) << error();
}

TEST_F(Damaged, TruncatedAnywhere) {
  write_tensors(folder_.path(), tensors_, 1);
  const std::string whole = read_bytes(folder_.file("model.safetensors"));
  for (std::size_t n = 0; n < whole.size(); n += 1 + n / 20) {
    write_bytes(folder_.file("model.safetensors"), whole.substr(0, n));
    EXPECT_FALSE(error_of(folder_.path()).empty());
  }
  write_bytes(folder_.file("model.safetensors"), whole + "x");
  EXPECT_NE(error_of(folder_.path()).find("bytes of data, the file has"), std::string::npos);
}

TEST_F(Damaged, ShardsAndTheirIndex) {
  write_tensors(folder_.path(), tensors_, 3);
  const std::string index_path = folder_.file("model.safetensors.index.json");
  const std::string index = read_bytes(index_path);
  ASSERT_TRUE(Checkpoint::open(folder_.path()).has_value());

  std::filesystem::rename(folder_.file("model-00002-of-00003.safetensors"), folder_.file("aside"));
  EXPECT_NE(error_of(folder_.path()).find("model-00002-of-00003.safetensors"), std::string::npos);
  std::filesystem::rename(folder_.file("aside"), folder_.file("model-00002-of-00003.safetensors"));

  auto with = [&](std::string_view from, std::string_view to) {
    std::string text = index;
    text.replace(text.find(from), from.size(), to);
    write_bytes(index_path, text);
    return error_of(folder_.path());
  };
  const std::string first = "\"" + tensors_[0].name + "\":\"model-00001-of-00003.safetensors\"";
  EXPECT_NE(with(first, "\"" + tensors_[0].name + "\":\"model-00003-of-00003.safetensors\"").find("the index says"),
            std::string::npos);
  EXPECT_NE(with(first, "\"" + tensors_[0].name + "\":\"../secret.safetensors\"").find("not a file name"),
            std::string::npos);
  EXPECT_NE(with(first + ",", "").find("the index says nowhere"), std::string::npos);
  EXPECT_NE(with(first, first + ",\"extra\":\"model-00001-of-00003.safetensors\"").find("tensor extra is missing"),
            std::string::npos);
  EXPECT_NE(with(first, first + "," + first).find("stands there twice"), std::string::npos);
  EXPECT_NE(with("weight_map", "wait_map").find("weight_map"), std::string::npos);
  write_bytes(index_path, index.substr(0, index.size() / 2));
  EXPECT_NE(error_of(folder_.path()).find("not JSON"), std::string::npos);
}

// Every byte of a small file's header, one bit of it flipped in turn: refused, or the same tensors as before.
TEST_F(Damaged, AFlippedHeaderNeverChangesTheModelUnseen) {
  TemporaryFolder folder;
  write_checkpoint(folder.path(), tiny_config("M*", false, false), true, 5);
  const std::string path = folder.file("model.safetensors");
  const std::string whole = read_bytes(path);
  auto original = Checkpoint::open(folder.path());
  ASSERT_TRUE(original.has_value());
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> shapes;
  for (const TensorView& view : (*original)->tensors()) shapes.emplace_back(view.name, view.shape);
  std::uint64_t length = 0;
  std::memcpy(&length, whole.data(), 8);
  int n_accepted = 0;
  for (std::size_t at = 0; at < 8 + length; ++at) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << (at * 5 % 8)));
    const std::string other = folder.file("model.safetensors.new");
    write_bytes(other, flipped);
    std::filesystem::rename(other, path);
    auto checkpoint = Checkpoint::open(folder.path());
    if (!checkpoint) continue;
    ++n_accepted;
    std::vector<std::pair<std::string, std::vector<std::int64_t>>> now;
    for (const TensorView& view : (*checkpoint)->tensors()) now.emplace_back(view.name, view.shape);
    EXPECT_EQ(now, shapes) << "byte " << at;
  }
  // Only the free text in __metadata__ and blanks can change without notice.
  EXPECT_LT(n_accepted, 30);
}

TEST(CheckpointDigest, DependsOnContentNotOnFiles) {
  TemporaryFolder a, b, c, d, e;
  write_checkpoint(a.path(), tiny_config(), true, 7, 1);
  write_checkpoint(b.path(), tiny_config(), true, 7, 4);
  write_checkpoint(c.path(), tiny_config(), true, 8, 1);
  write_checkpoint(d.path(), tiny_config("MEM*E-", true, true, "\"rms_norm_eps\":1e-5,\"transformers_version\":\"9\","),
                   true, 7, 1);
  const Digest digest = digest_of_folder(a.path());
  EXPECT_EQ(digest, digest_of_folder(b.path()));
  EXPECT_NE(digest, digest_of_folder(c.path()));
  EXPECT_EQ(digest, digest_of_folder(d.path()));
  std::string other = tiny_config();
  other.replace(other.find("2.5"), 3, "2.4");
  write_checkpoint(e.path(), other, true, 7, 1);
  EXPECT_NE(digest, digest_of_folder(e.path()));
  // One flipped bit of one weight.
  std::string bytes = read_bytes(a.file("model.safetensors"));
  bytes[bytes.size() - 5] = static_cast<char>(bytes[bytes.size() - 5] ^ 4);
  write_bytes(a.file("model.safetensors"), bytes);
  EXPECT_NE(digest, digest_of_folder(a.path()));
}

TEST(CheckpointDigest, IsRememberedUntilTheFileChanges) {
  TemporaryFolder folder;
  write_checkpoint(folder.path(), tiny_config(), true, 7, 2);
  const std::string cache = folder.file("digests.json");
  auto compute = [&](int& n_calls) {
    auto checkpoint = Checkpoint::open(folder.path());
    EXPECT_TRUE(checkpoint.has_value());
    std::uint64_t last = 0, total_seen = 0;
    auto digest = (*checkpoint)->digest(cache, [&](std::uint64_t done, std::uint64_t total) {
      ++n_calls;
      EXPECT_GT(done, last);
      last = done;
      total_seen = total;
    });
    EXPECT_EQ(last, total_seen);
    return *digest;
  };
  int first = 0, second = 0, third = 0, fourth = 0;
  const Digest digest = compute(first);
  EXPECT_GT(first, 0);
  EXPECT_EQ(compute(second), digest);
  EXPECT_EQ(second, 0);
  // A damaged cache is as if there were none.
  write_bytes(cache, "{\"");
  EXPECT_EQ(compute(third), digest);
  EXPECT_EQ(third, first);
  // Same content and size, written anew: another inode, so it is read again.
  const std::string shard = folder.file("model-00001-of-00002.safetensors");
  const std::string bytes = read_bytes(shard);
  write_bytes(folder.file("new"), bytes);
  std::filesystem::rename(folder.file("new"), shard);
  EXPECT_EQ(compute(fourth), digest);
  EXPECT_EQ(fourth, first);
}

}  // namespace
}  // namespace longhaul::model
