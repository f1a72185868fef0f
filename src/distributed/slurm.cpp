#include "distributed/slurm.h"

#include <cctype>
#include <filesystem>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/process.h"
#include "base/text.h"
#include "config/train_config.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;

// 'a b' for the shell, whatever is in it.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// For an #SBATCH line. sbatch takes quotes away as a shell does, but a backslash escapes inside all of them, too, and a
// bare # begins a comment; a backslash before every sign that could mean something is read alike by all versions.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = std::isalnum(byte) || byte >= 0x80 || std::string("_./:,=@%+-").find(c) != std::string::npos;
    out += plain ? std::string(1, c) : std::string("\\") + c;
  }
  return out;
}

// A folder in a file name pattern of SLURM's, where % begins a replacement.
std::string in_pattern(const std::string& folder) {
  std::string out;
  for (const char c : folder) out += c == '%' ? "%%" : std::string(1, c);
  return out;
}

}  // namespace

std::string slurm_script(const LaunchConfig& c, const std::string& dump_dir, const SlurmOptions& options) {
  LT2_CHECK(c.nodes > 0, "lt2 launch --slurm: nodes=N is required, the number of machines");
  const std::string* const lines[] = {&dump_dir,     &options.program, &c.partition, &c.mem,
                                      &c.constraint, &c.exclude,       &c.account,   &c.qos};
  for (const std::string* text : lines) {
    // From the working directory or the program's place, which no configuration has checked.
    LT2_CHECK(printable(*text) == *text,
              "lt2 launch --slurm: control characters cannot go into a job file; found \"{}\"", printable(*text));
  }
  LT2_CHECK(dump_dir.find('\\') == std::string::npos,
            "lt2 launch --slurm: dump_dir must not hold a backslash, with which SLURM names its files %j; found {}",
            dump_dir);
  const int64_t tasks = options.tasks_per_node > 0 ? options.tasks_per_node : std::max<int64_t>(c.ngpu, 1);
  std::string out = "#!/bin/bash\n";
  const auto line = [&](const std::string& text) { out += "#SBATCH --" + text + "\n"; };
  const auto optional = [&](const char* name, const std::string& value) {
    if (!value.empty()) line(fmt::format("{}={}", name, escaped(value)));
  };
  line(fmt::format("job-name={}", escaped(fs::path(dump_dir).lexically_normal().filename().string())));
  line(fmt::format("nodes={}", c.nodes));
  line(fmt::format("ntasks-per-node={}", tasks));
  if (c.ngpu > 0) {
    line(fmt::format("gres=gpu:{}", c.ngpu));
    line(fmt::format("cpus-per-gpu={}", c.ncpu));
  } else {
    line(fmt::format("cpus-per-task={}", c.ncpu));
  }
  optional("partition", c.partition);
  if (c.time > 0) line(fmt::format("time={}", c.time));
  line(fmt::format("mem={}", c.mem.empty() ? "0" : escaped(c.mem)));
  optional("constraint", c.constraint);
  optional("exclude", c.exclude);
  optional("account", c.account);
  optional("qos", c.qos);
  const std::string logs = in_pattern(dump_dir) + "/logs/%j/%j";
  line(fmt::format("output={}.stdout", escaped(logs)));
  line(fmt::format("error={}.stderr", escaped(logs)));
  line("open-mode=append");
  line("signal=USR2@120");
  line("distribution=block");
  line("requeue");
  const std::string task_logs =
      c.stdout_ ? "" : fmt::format(" --output={} --error={}", quoted(logs + "_%t.out"), quoted(logs + "_%t.err"));
  out += fmt::format(
      "\n"
      "# Two minutes before the end SLURM signals the ranks; they save, and rank 0 requeues the job.\n"
      "srun -n {} -N {}{} {} train config={}\n"
      "status=$?\n",
      c.nodes * tasks, c.nodes, task_logs, quoted(options.program), quoted(dump_dir + "/base_config.yaml"));
  if (options.max_restarts > 0) {
    out += fmt::format(
        "# A failure goes on from the last checkpoint; a stop (SIGINT, SIGTERM as of scancel) is final.\n"
        "case $status in 0|130|143) ;; *)\n"
        "  if [ \"${{SLURM_RESTART_COUNT:-0}}\" -lt {} ]; then scontrol requeue \"$SLURM_JOB_ID\"; fi ;;\n"
        "esac\n",
        options.max_restarts);
  }
  return out + "exit $status\n";
}

int submit_slurm(const LaunchConfig& config, const SlurmOptions& options) {
  LT2_CHECK(!config.config.empty(), "lt2 launch --slurm: config=FILE is required");
  LT2_CHECK(!config.override_, "lt2 launch --slurm: override=true would delete a run; remove the folder yourself");
  Notes notes;
  auto overrides = std::vector<std::string>{};
  const auto literal = [](const std::string& text) { return escape_references(ConfigTree::quoted(text)); };
  if (!config.dump_dir.empty()) overrides.push_back("dump_dir=" + write_yaml(literal(config.dump_dir)));
  const TrainConfig train = load_train_config(config.config, overrides, &notes);
  LT2_CHECK(!train.dump_dir.empty(), "{}: dump_dir is empty; set it there, or dump_dir=DIR here", config.config);
  const fs::path dump_dir = fs::absolute(train.dump_dir).lexically_normal();
  const auto script_file = dump_dir / "submit.slurm", config_file = dump_dir / "base_config.yaml";
  LT2_CHECK(config.dirs_exists_ok || !fs::exists(dump_dir),
            "{}: exists already; dirs_exists_ok=true goes on in it, or choose another dump_dir", dump_dir.string());
  const std::string script = slurm_script(config, dump_dir.string(), options);
  make_folders(dump_dir / "logs", "dump_dir");
  auto tree = parse_yaml(read_file(config.config), config.config);
  tree.at("dump_dir") = literal(dump_dir.string());
  write_file_atomically(config_file, write_yaml(tree));
  write_file_atomically(script_file, script);
  log_info("{}", config_file.string());
  log_info("{}", script_file.string());
  if (!options.submit) return 0;
  const int status = run_program({config.launcher, script_file.string()});
  LT2_CHECK(status != 127,
            "lt2 launch --slurm: cannot run {}; is SLURM installed here? --dry-run writes the job file only",
            config.launcher);
  return status;
}

}  // namespace lt2
