#pragma once
// The windows of an attention plan as JSON: [loop][layer], null for unlimited. Saved states and vectors carry it.
#include <nlohmann/json.hpp>

#include "config/patterns.h"

namespace lt2 {

nlohmann::json windows_json(const AttentionPlan& plan);

}  // namespace lt2
