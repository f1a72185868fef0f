// Attention mixers as single layers.
#include <algorithm>

#include "check/judge.h"
#include "mixers/mixer.h"

namespace lt2::check {

void check_attention(const SafetensorsFile& file, Judge& judge) {
  const auto json = metadata_json(file, "config");
  const auto type = json.at("kind").get<std::string>();
  const auto known = mixer_types();
  if (std::find(known.begin(), known.end(), type) == known.end())
    throw Unsupported{"mixer " + type + " is not in this version"};
  const double output_limit = judge.reduced() ? 2e-2 : 1e-5, gradient_limit = 5e-5;
  const auto device = judge.options.device;
  const std::optional<int64_t> window = json.contains("window") && json["window"].is_number()
                                            ? std::optional(json["window"].get<int64_t>())
                                            : std::nullopt;
  const auto mixer = make_mixer(type, vector_config(file));
  {
    torch::NoGradGuard no_grad;
    for (auto& [name, parameter] : parameters_of(*mixer)) parameter.copy_(file.tensor("param." + name));
  }
  mixer->to(device);

  const auto x = file.tensor("x").to(device).set_requires_grad(true);
  const auto y = mixer->forward(x.to(judge.options.dtype), {.window = window, .state = nullptr, .residual = {}});
  judge.relative("y", y, file.tensor("y"), output_limit);
  if (!judge.reduced()) {
    (y * file.tensor("dy").to(device)).sum().backward();
    judge.relative("grad.x", x.grad(), file.tensor("grad.x"), gradient_limit);
    for (const auto& [name, parameter] : parameters_of(*mixer)) {
      judge.relative("grad." + name, parameter.grad(), file.tensor("grad." + name), gradient_limit);
    }
  }

  torch::NoGradGuard no_grad;
  for (const int64_t piece : {int64_t{1}, int64_t{5}}) {
    auto state = mixer->make_state(
        {.batch = x.size(0), .dtype = judge.options.dtype, .device = device, .window = window, .reserve_tokens = 0});
    std::vector<torch::Tensor> parts;
    for (int64_t begin = 0; begin < x.size(1); begin += piece) {
      const auto part = x.narrow(1, begin, std::min(piece, x.size(1) - begin)).to(judge.options.dtype);
      parts.push_back(mixer->forward(part, {.window = window, .state = state.get(), .residual = {}}));
    }
    judge.relative(piece == 1 ? "y token by token" : "y in pieces of 5", torch::cat(parts, 1), file.tensor("y"),
                   output_limit);
  }
}

}  // namespace lt2::check
