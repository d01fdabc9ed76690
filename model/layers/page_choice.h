// Attention over some pages instead of all (KvMode): which ones a query reads is decided by the bounds of their
// summaries, and what the others could have held is accounted for. A row's choice follows from its own query and from
// the pages that are full at its position, never from what else is in the step, from chunks, threads or caches.
//
// For a row at position i, page i / 128 is its own. Always read: its own, the first and the last two before it. Of the
// others (the candidates) each head h gives page p the share exp(bound[h][p]) / sum over candidates; a page's score is
// its largest share over the heads; equal scores go to the earlier page.
//   budget B: the B - 3 best (all, if at most B pages lie before the row's own).
//   error E:  in order of score, 8 pages at a time (a quarter of what was taken, if that is more), until for every head
//             skipped / (skipped + read) < E, skipped = sum 128 exp(bound), read = sum exp(score) of what was read.
// What is read is attended to in page order, so that reading all pages gives exact attention's bits.
#pragma once

#include <span>

#include "model/layers/attention.h"
#include "model/layers/page_walk.h"

namespace longhaul::model {

// As walk_pages over whole_walk(target), for targets with a report (KvTarget::report), which is added to.
Result<void> attend_chosen(const StepContext& step, std::span<const KvTarget> targets, const WalkRows& rows);

}  // namespace longhaul::model
