#include "cli/command.h"

namespace lt2 {

std::vector<Command> commands() {
  return {train_command(), generate_command(), inspect_command(), check_command(),    bench_command(), report_command(),
          data_command(),  tokenize_command(), convert_command(), quantize_command(), launch_command()};
}

}  // namespace lt2
