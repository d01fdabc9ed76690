// What this processor can compute with, and which of it an engine uses. Every set gives the same bits (contract C2); a
// set is chosen once, when an engine is loaded.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "model/kernels/attention.h"
#include "model/kernels/conv.h"
#include "model/kernels/matmul.h"
#include "model/kernels/norm.h"
#include "model/kernels/page_bounds.h"
#include "model/kernels/ssm_scan.h"
#include "runtime/base/result.h"

namespace longhaul::model {

struct Kernels {
  std::string_view name;
  MatmulFunction matmul = nullptr;
  NormFunction rms_norm = nullptr, gated_rms_norm = nullptr;
  MapFunction sigmoid = nullptr, softplus = nullptr, exp = nullptr, silu = nullptr;
  ConvFunction conv = nullptr;
  SsmScanFunction ssm_scan = nullptr;
  AttentionFunction attention = nullptr;
  PageBoundsFunction page_bounds = nullptr;
};

// Widest first; "scalar", which every processor has, last. Valid for the life of the process.
const std::vector<Kernels>& available_kernels();

// "auto": the widest vector set; kUnsupported on a processor without one (x86-64 without AVX2 and FMA), where "scalar"
// has to be asked for by name because it is some fifty times slower. kInvalidArgument names an unknown set and the
// known.
Result<const Kernels*> choose_kernels(std::string_view name, const std::vector<Kernels>& known = available_kernels());

}  // namespace longhaul::model
