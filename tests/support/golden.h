// Reads the expected values that scripts/golden writes: a safetensors file of F32 and I32 tensors.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "runtime/base/json.h"

namespace longhaul {

struct GoldenTensor {
  std::vector<std::int64_t> shape;
  std::vector<float> values;      // F32
  std::vector<std::int32_t> ids;  // I32
};

inline std::map<std::string, GoldenTensor> read_golden(const std::string& path) {
  std::map<std::string, GoldenTensor> tensors;
  std::ifstream in(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  EXPECT_GT(bytes.size(), 8U) << path;
  if (bytes.size() <= 8) return tensors;
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);
  const auto header = parse_json(bytes.substr(8, header_bytes));
  EXPECT_TRUE(header) << path;
  if (!header) return tensors;
  for (const auto& [name, value] : header->as_object()) {
    if (name == "__metadata__") continue;
    const json::object& entry = value.as_object();
    GoldenTensor tensor;
    for (const json::value& extent : entry.at("shape").as_array())
      tensor.shape.push_back(extent.to_number<std::int64_t>());
    const auto begin = entry.at("data_offsets").as_array()[0].to_number<std::size_t>();
    const auto end = entry.at("data_offsets").as_array()[1].to_number<std::size_t>();
    const char* data = bytes.data() + 8 + header_bytes + begin;
    if (entry.at("dtype").as_string() == "F32") {
      tensor.values.resize((end - begin) / 4);
      std::memcpy(tensor.values.data(), data, end - begin);
    } else {
      EXPECT_EQ(entry.at("dtype").as_string(), "I32") << name;
      tensor.ids.resize((end - begin) / 4);
      std::memcpy(tensor.ids.data(), data, end - begin);
    }
    tensors.emplace(std::string(name), std::move(tensor));
  }
  return tensors;
}

}  // namespace longhaul
