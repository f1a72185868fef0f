#pragma once
// The windows of an attention plan as JSON: [loop][layer], null for unlimited. What saved states and vectors carry.
#include <nlohmann/json.hpp>

#include "config/patterns.h"

namespace lt2 {

nlohmann::json windows_json(const AttentionPlan& plan);

}  // namespace lt2
