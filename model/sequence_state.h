// The whole state of one sequence: fixed-size Mamba states, and KV pages of 128 tokens that are immutable once full.
// A value that the engine advances and the sessions room stores; it knows no model code. Its first pages may stay where
// they are kept (a PageSource) and be read when attention asks for them; the later ones are its own.
//
// Stored types: the SSM state is fp32 always (it is rewritten at every token for the life of a session); K, V and the
// convolution rows are fp32 for F32 checkpoints and bf16 for BF16 ones, rounded when they are produced.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/page_source.h"
#include "runtime/base/result.h"

namespace longhaul::model {

inline constexpr std::int64_t kPageTokens = 128;

enum class StoredType : std::uint8_t { kF32 = 0, kBf16 = 1 };

// Everything that decides sizes; equal layouts can exchange states.
struct StateLayout {
  std::uint32_t n_mamba_layers = 0;
  std::uint32_t n_attention_layers = 0;      // backbone only
  std::uint32_t n_mtp_attention_layers = 0;  // 0 without MTP; their KV is a cache: never stored, never changes tokens
  std::uint32_t conv_channels = 0, conv_rows = 3;  // rows kept: d_conv - 1
  std::uint32_t n_mamba_heads = 0, mamba_head_dim = 0, d_state = 0;
  std::uint32_t n_kv_heads = 0, head_dim = 0;
  StoredType stored = StoredType::kF32;

  std::size_t stored_bytes() const { return stored == StoredType::kF32 ? 4 : 2; }
  std::size_t ssm_floats() const { return std::size_t{n_mamba_heads} * mamba_head_dim * d_state; }    // a layer
  std::size_t conv_bytes() const { return std::size_t{conv_rows} * conv_channels * stored_bytes(); }  // a layer
  std::size_t row_bytes() const { return std::size_t{n_kv_heads} * head_dim * stored_bytes(); }  // K (or V) of a token
  std::size_t page_bytes() const { return 2 * kPageTokens * row_bytes(); }  // a full page of one layer
  std::size_t fixed_bytes() const { return n_mamba_layers * (ssm_floats() * 4 + conv_bytes()); }

  friend bool operator==(const StateLayout&, const StateLayout&) = default;
};

// K then V of up to kPageTokens tokens of one attention layer: k[kv_head][token][head_dim], v likewise, in the stored
// type; the strides are those of a full page also while it is open. Never changed after it is full.
struct KvPage {
  std::vector<std::byte> bytes;  // layout.page_bytes()
};

struct MambaLayerState {
  std::vector<std::byte> conv;  // [conv_rows][conv_channels], oldest row first, stored type, before the convolution
  std::vector<float> ssm;       // [n_mamba_heads][mamba_head_dim][d_state]
};

struct AttentionLayerState {
  std::int64_t n_stored = 0;                        // pages [0, n_stored) are in SequenceState::stored()
  std::vector<std::shared_ptr<const KvPage>> full;  // pages from n_stored on; shared between forks, hence shared_ptr
  std::unique_ptr<KvPage> open;                     // null while the position is a multiple of kPageTokens
  std::vector<std::byte> summaries;                 // of the first pages of `full`, made when a KV mode asks for them

  std::int64_t n_full() const { return n_stored + static_cast<std::int64_t>(full.size()); }
};

struct PendingStep;  // the engine's: recurrence inputs of a provisional step

class SequenceState {
 public:
  explicit SequenceState(const StateLayout& layout);  // position 0, all zero
  SequenceState(SequenceState&&) noexcept = default;
  SequenceState& operator=(SequenceState&&) noexcept = default;

  // A deep copy of the fixed part and the open pages; full pages are shared. Costly, hence named.
  SequenceState clone() const;
  // The same into this state, whose memory is used again.
  void assign(const SequenceState& other);

  const StateLayout& layout() const { return layout_; }
  std::int64_t position() const { return position_; }  // tokens consumed
  std::int64_t n_full_pages() const { return position_ / kPageTokens; }

  // Lets go of all pages; the state is then good for nothing but assign.
  void drop_pages();

  // Bytes held, shared pages counted whole, pages of a source not at all.
  std::size_t resident_bytes() const;

  // The fixed part: every Mamba layer's conv rows and SSM state, in layer order, little-endian. fixed_bytes() long.
  std::string encode_fixed() const;
  // The same bytes where they lie, in order, until the state changes: for whoever need not have them in one piece.
  std::vector<std::string_view> fixed_parts() const;
  // The open pages of all attention layers: for each layer K rows then V rows of position() % kPageTokens tokens,
  // [kv_head][token][head_dim]. Empty at a page boundary.
  std::string encode_open_pages() const;
  // The full page `index` of attention layer `layer`: layout().page_bytes() bytes. An error only for a page of a
  // source.
  Result<PagePin> page(std::uint32_t layer, std::int64_t index) const;

  // Where pages [0, n) of every layer of the backbone are; null: the sequence holds all of them.
  const std::shared_ptr<const PageSource>& stored() const { return stored_; }
  // The first `n` full pages are in `source` from now on, and no longer held here. They must be the same bytes.
  void give_pages(std::shared_ptr<const PageSource> source, std::int64_t n);

  // The reverse. `pages[layer][index]`; sizes are checked against the layout and the position: kCorruption names both.
  static Result<SequenceState> decode(const StateLayout& layout, std::int64_t position, std::string_view fixed,
                                      std::string_view open_pages,
                                      std::vector<std::vector<std::shared_ptr<const KvPage>>> pages);
  // With all full pages left where they are; none is read. Null is allowed where there are none.
  static Result<SequenceState> decode(const StateLayout& layout, std::int64_t position, std::string_view fixed,
                                      std::string_view open_pages, std::shared_ptr<const PageSource> pages);

  // Bitwise equality of everything that affects later tokens (not the MTP cache). Reads the pages of sources.
  Result<bool> compare(const SequenceState& other) const;
  bool same_as(const SequenceState& other) const;  // a page that cannot be read is like no other

  // For the engine only. A provisional step leaves `pending` (see Engine::accept); the next step, accepted or not,
  // drops it, and a clone has none.
  std::vector<MambaLayerState> mamba;
  std::vector<AttentionLayerState> attention;      // backbone
  std::vector<AttentionLayerState> mtp_attention;  // draft cache
  std::int64_t mtp_position = 0;                   // rows in the draft cache: less than position() after a resume
  std::vector<float> mtp_hidden;                   // [d_model] of the last consumed token; empty after a resume
  std::shared_ptr<PendingStep> pending;            // shared_ptr only because the type is the engine's
  void set_position(std::int64_t position) { position_ = position; }

 private:
  static Result<SequenceState> decode_parts(const StateLayout& layout, std::int64_t position, std::string_view fixed,
                                            std::string_view open_pages);

  StateLayout layout_;
  std::int64_t position_ = 0;
  std::shared_ptr<const PageSource> stored_;
};

}  // namespace longhaul::model
