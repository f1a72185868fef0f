#include "config/plan_json.h"

namespace lt2 {

nlohmann::json windows_json(const AttentionPlan& plan) {
  auto rows = nlohmann::json::array();
  for (const auto& loop : plan.windows) {
    auto row = nlohmann::json::array();
    for (const auto& window : loop) row.push_back(window ? nlohmann::json(*window) : nlohmann::json(nullptr));
    rows.push_back(row);
  }
  return rows;
}

}  // namespace lt2
