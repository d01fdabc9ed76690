#include "model/sequence_state.h"

#include "tests/support/state_pages.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace longhaul::model {
namespace {

StateLayout layout_of(StoredType stored) {
  return {.n_mamba_layers = 2,
          .n_attention_layers = 2,
          .n_mtp_attention_layers = 1,
          .conv_channels = 12,
          .conv_rows = 3,
          .n_mamba_heads = 2,
          .mamba_head_dim = 4,
          .d_state = 16,
          .n_kv_heads = 2,
          .head_dim = 16,
          .stored = stored};
}

using Pages = std::vector<std::vector<std::shared_ptr<const KvPage>>>;

Pages full_pages(const StateLayout& layout, std::int64_t n) {
  Pages pages(layout.n_attention_layers);
  for (auto& layer : pages) {
    for (std::int64_t i = 0; i < n; ++i) {
      auto page = std::make_shared<KvPage>();
      page->bytes.assign(layout.page_bytes(), static_cast<std::byte>(i + 1));
      layer.push_back(std::move(page));
    }
  }
  return pages;
}

std::string pattern(std::size_t n, int seed) {
  std::string bytes(n, 0);
  for (std::size_t i = 0; i < n; ++i) bytes[i] = static_cast<char>((i * 7 + static_cast<std::size_t>(seed)) % 120);
  return bytes;
}

TEST(SequenceState, SizesFollowTheLayout) {
  const StateLayout layout = layout_of(StoredType::kBf16);
  EXPECT_EQ(layout.ssm_floats(), 2U * 4 * 16);
  EXPECT_EQ(layout.conv_bytes(), 3U * 12 * 2);
  EXPECT_EQ(layout.row_bytes(), 2U * 16 * 2);
  EXPECT_EQ(layout.page_bytes(), 2U * 128 * 64);
  EXPECT_EQ(layout.fixed_bytes(), 2U * (128 * 4 + 72));
  const SequenceState state(layout);
  EXPECT_EQ(state.position(), 0);
  EXPECT_EQ(state.encode_fixed(), std::string(layout.fixed_bytes(), '\0'));
  EXPECT_EQ(state.encode_open_pages(), "");
  EXPECT_EQ(state.resident_bytes(), layout.fixed_bytes());
}

TEST(SequenceState, EncodesWhatItDecoded) {
  for (StoredType stored : {StoredType::kF32, StoredType::kBf16}) {
    const StateLayout layout = layout_of(stored);
    for (std::int64_t position : {0, 1, 127, 128, 300}) {
      const std::string fixed = pattern(layout.fixed_bytes(), 1);
      const std::string open =
          pattern(2 * 2 * static_cast<std::size_t>(position % kPageTokens) * layout.row_bytes(), 2);
      auto state = SequenceState::decode(layout, position, fixed, open, full_pages(layout, position / kPageTokens));
      ASSERT_TRUE(state) << state.error().message;
      EXPECT_EQ(state->position(), position);
      EXPECT_EQ(state->encode_fixed(), fixed);
      EXPECT_EQ(state->encode_open_pages(), open);
      if (position >= kPageTokens) {
        EXPECT_EQ(page_text(*state, 1, 0), std::string(layout.page_bytes(), '\1'));
      }
      EXPECT_EQ(state->resident_bytes(),
                layout.fixed_bytes() +
                    2 * layout.page_bytes() * static_cast<std::size_t>((position + kPageTokens - 1) / kPageTokens));
    }
  }
}

TEST(SequenceState, OpenPageKeepsTheStridesOfAFullOne) {
  const StateLayout layout = layout_of(StoredType::kBf16);
  const std::string open = pattern(2 * 2 * 3 * layout.row_bytes(), 3);
  auto state = SequenceState::decode(layout, 3, std::string(layout.fixed_bytes(), '\0'), open, full_pages(layout, 0));
  ASSERT_TRUE(state);
  // Layer 1, V, kv head 1, token 2: the last row of the encoded bytes.
  const std::byte* row = state->attention[1].open->bytes.data() + ((2 + 1) * kPageTokens + 2) * 16 * 2;
  EXPECT_EQ(std::memcmp(row, open.data() + open.size() - 32, 32), 0);
}

TEST(SequenceState, ClonesAreIndependentAndShareFullPages) {
  const StateLayout layout = layout_of(StoredType::kF32);
  auto state = SequenceState::decode(layout, 130, pattern(layout.fixed_bytes(), 1),
                                     pattern(2 * 2 * 2 * layout.row_bytes(), 2), full_pages(layout, 1));
  ASSERT_TRUE(state);
  SequenceState copy = state->clone();
  EXPECT_TRUE(copy.same_as(*state));
  EXPECT_EQ(copy.attention[0].full[0], state->attention[0].full[0]);
  copy.mamba[1].ssm[5] += 1;
  EXPECT_FALSE(copy.same_as(*state));
  copy = state->clone();
  copy.attention[1].open->bytes[0] ^= std::byte{1};
  EXPECT_FALSE(copy.same_as(*state));
  copy = state->clone();
  copy.attention[1].open->bytes.back() ^= std::byte{1};  // behind the position: not part of the state
  EXPECT_TRUE(copy.same_as(*state));
  copy.mtp_hidden.assign(3, 1.0F);  // a cache
  EXPECT_TRUE(copy.same_as(*state));
}

TEST(SequenceState, WrongSizesAreNamedWithBothValues) {
  const StateLayout layout = layout_of(StoredType::kBf16);
  const std::string fixed(layout.fixed_bytes(), '\0'), open(2 * 2 * 2 * layout.row_bytes(), '\0');
  const auto error = [&](std::int64_t position, std::string_view f, std::string_view o, Pages pages) {
    auto state = SequenceState::decode(layout, position, f, o, std::move(pages));
    if (state) return std::string("ok");
    EXPECT_EQ(state.error().code, ErrorCode::kCorruption);
    return state.error().message;
  };
  EXPECT_EQ(error(130, fixed, open, full_pages(layout, 1)), "ok");
  EXPECT_NE(error(130, fixed.substr(1), open, full_pages(layout, 1)).find("1167 bytes, the layout needs 1168"),
            std::string::npos);
  EXPECT_NE(error(131, fixed, open, full_pages(layout, 1)).find("position 131"), std::string::npos);
  EXPECT_NE(error(130, fixed, open, full_pages(layout, 2)).find("2 full pages"), std::string::npos);
  EXPECT_NE(error(130, fixed, open, {}).find("0 attention layers"), std::string::npos);
  EXPECT_NE(error(-1, fixed, "", full_pages(layout, 0)).find("-1"), std::string::npos);
  Pages pages = full_pages(layout, 1);
  pages[1][0] = nullptr;
  EXPECT_NE(error(130, fixed, open, pages).find("page 0 of attention layer 1 is missing"), std::string::npos);
  auto small = std::make_shared<KvPage>();
  small->bytes.resize(5);
  pages[1][0] = small;
  EXPECT_NE(error(130, fixed, open, pages).find("5 bytes"), std::string::npos);
}

}  // namespace
}  // namespace longhaul::model
