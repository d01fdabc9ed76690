// Places of a schema that hold the same values. Internal to tools/.
#pragma once

#include <vector>

#include "tools/json_schema.h"

namespace longhaul::tools {

// Names the first of the nodes that hold the same scalars, and nothing else, in the choices of all of them, and the
// first node with the same choices in Node::alike. Choices are filled, and each is a node without any_of.
void share_alike(std::vector<Node>& nodes);

}  // namespace longhaul::tools
