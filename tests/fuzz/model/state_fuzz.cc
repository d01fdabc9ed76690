// Stored states of any bytes: SequenceState::decode gives a state that encodes to the same bytes, or an error.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "model/sequence_state.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace longhaul::model;
  std::uint8_t head[16] = {};
  if (size != 0) std::memcpy(head, data, size < 16 ? size : 16);
  StateLayout layout;
  layout.n_mamba_layers = head[0] % 4;
  layout.n_attention_layers = head[1] % 4;
  layout.conv_channels = head[2] % 32;
  layout.conv_rows = head[3] % 5;
  layout.n_mamba_heads = head[4] % 4;
  layout.mamba_head_dim = head[5] % 8;
  layout.d_state = head[6] % 32;
  layout.n_kv_heads = head[7] % 3;
  layout.head_dim = head[8] % 16;
  layout.stored = head[9] % 2 == 0 ? StoredType::kF32 : StoredType::kBf16;
  std::int64_t position = 0;
  std::memcpy(&position, head + 10, head[9] % 4 == 3 ? 6 : 1);
  if (head[15] == 255) position = -position;
  const std::string_view rest(reinterpret_cast<const char*>(data) + (size < 16 ? size : 16), size < 16 ? 0 : size - 16);
  // Half of the inputs are cut where the layout wants it, so that well-formed ones are reached.
  const std::size_t fixed_bytes = head[14] % 2 == 0 ? layout.fixed_bytes() : head[14];
  const std::string_view fixed = rest.substr(0, fixed_bytes);
  const std::string_view open = rest.substr(fixed.size());
  std::vector<std::vector<std::shared_ptr<const KvPage>>> pages(head[13] % 8 == 7 ? 2 : layout.n_attention_layers);
  for (auto& layer : pages) {
    for (std::int64_t i = 0; i < position / kPageTokens && i < 4; ++i) {
      auto page = std::make_shared<KvPage>();
      page->bytes.resize(layout.page_bytes() + (head[13] == 9 ? 1 : 0));
      layer.push_back(head[13] == 11 ? nullptr : std::move(page));
    }
  }
  auto state = SequenceState::decode(layout, position, fixed, open, std::move(pages));
  if (!state) return 0;
  if (state->encode_fixed() != fixed || state->encode_open_pages() != open || state->position() != position)
    std::abort();
  if (!state->clone().same_as(*state)) std::abort();
  return 0;
}
