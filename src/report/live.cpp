#include "report/live.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/output.h"
#include "base/signals.h"
#include "report/html.h"
#include "report/report.h"

namespace lt2 {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::seconds;
using Json = nlohmann::ordered_json;

// A run is silent after this many times its usual pause between two lines, but no sooner than kLeastSilence seconds.
constexpr double kSilentPauses = 4, kLeastSilence = 20;
constexpr size_t kPaceLines = 50;  // the last ones tell how fast the run goes

constexpr std::string_view kLiveStyle =
    R"CSS(.live { position: sticky; top: 0; z-index: 2; margin: -2.2rem -1rem 1.6rem;
  padding: .6rem 1rem .7rem; background: var(--panel); border-bottom: 1px solid var(--line); display: flex;
  flex-wrap: wrap; gap: .1rem 1.3rem; font-size: .93rem; font-variant-numeric: tabular-nums; color: var(--ink-soft); }
.live b { color: var(--ink); font-weight: 650; }
.live [data-is=state]::before { content: ''; display: inline-block; width: .65em; height: .65em; border-radius: 50%;
  margin-right: .5em; background: var(--series-6); }
.live.running [data-is=state]::before, .live.finished [data-is=state]::before { background: var(--series-3); }
.live.silent [data-is=state]::before { background: var(--series-2); }
.live.error [data-is=state]::before { background: var(--alert); }
.live progress { position: absolute; left: 0; right: 0; bottom: -2px; width: 100%; height: 3px; appearance: none;
  border: 0; background: none; accent-color: var(--series-1); }
.live progress::-webkit-progress-bar { background: none; }
.live progress::-webkit-progress-value { background: var(--series-1); }
.live progress::-moz-progress-bar { background: var(--series-1); }
@media (max-width: 640px) { .live { font-size: .86rem; gap: .1rem .9rem; } }
)CSS";

constexpr std::string_view kLiveScript = R"JS({
const live = document.getElementById('live'), changing = document.getElementById('changing');
const name = document.title;
let {step, epoch, version} = live.dataset;
const is = (key) => live.querySelector(`[data-is=${key}]`);
const number = (value, digits) => value === null ? '–' :
    value.toLocaleString('en-US', {minimumFractionDigits: digits, maximumFractionDigits: digits});
const duration = (s) => s === null ? '–' : s < 90 ? `${Math.round(s)} s` : s < 5400 ? `${Math.round(s / 60)} min` :
    `${Math.floor(s / 3600)} h ${Math.round(s % 3600 / 60)} min`;
function say(state, text) {
  live.className = 'live ' + state;
  is('state').textContent = text;
}
function show(run) {
  const words = {waiting: 'waiting for the first line of metrics.jsonl', running: 'running', finished: 'finished',
    silent: `no new line for ${number(Math.round(run.silent_s), 0)} s`, error: run.error};
  say(run.state, words[run.state]);
  is('step').textContent = number(run.step, 0) + (run.steps === null ? '' : ` of ${number(run.steps, 0)}`);
  is('loss').textContent = number(run.loss, 3);
  is('speed').textContent = number(run.tokens_per_s, run.tokens_per_s < 100 ? 1 : 0);
  is('left').textContent = run.state === 'finished' ? '0 s' : duration(run.left_s);
  live.querySelector('progress').value = run.steps ? run.step / run.steps : 0;
  document.title = run.step === null ? name : `${number(run.step, 0)}: ${number(run.loss, 3)} – ${name}`;
}
async function redraw() {
  const answer = await fetch('charts');
  if (!answer.ok) throw new Error(answer.status);
  const html = await answer.text();
  const open = [...changing.querySelectorAll('details')].map((details) => details.open);
  changing.innerHTML = html;
  changing.querySelectorAll('details').forEach((details, i) => { details.open = !!open[i]; });
  watchCharts(changing);
}
async function look() {
  try {
    const answer = await fetch(`points?after=${step}&epoch=${epoch}`);
    if (!answer.ok) throw new Error(answer.status);
    const run = await answer.json();
    show(run);
    epoch = run.epoch;
    step = run.step === null ? -1 : run.step;
    // Values being read under the pointer stay: the charts wait.
    if (String(run.version) !== String(version) && !changing.querySelector('.tip:not([hidden])')) {
      await redraw();
      version = run.version;
    }
  } catch (error) {
    say('error', 'no answer from lt2 report: was it ended?');
  }
  setTimeout(look, 2000);
}
look();
}
)JS";

/// Seconds a step takes, and between two lines, by the lines' times. Pauses in which the run was not running (it was
/// resumed later) do not count.
struct Pace {
  double step_s = kAbsent, line_s = kAbsent;
};

Pace pace_of(const RunRecord& run) {
  struct Gap {
    double steps, seconds;
  };
  std::vector<Gap> gaps;
  for (auto at = run.train.rbegin(); at != run.train.rend() && gaps.size() < kPaceLines; ++at) {
    const auto before = std::next(at);
    if (before == run.train.rend()) break;
    const double pause = at->second.time - before->second.time;
    if (std::isfinite(pause) && pause >= 0) gaps.push_back({at->first - before->first, pause});
  }
  if (gaps.empty()) return {};
  const auto middle = gaps.begin() + static_cast<std::ptrdiff_t>(gaps.size() / 2);
  std::nth_element(gaps.begin(), middle, gaps.end(), [](const Gap& a, const Gap& b) { return a.seconds < b.seconds; });
  Pace pace{.line_s = middle->seconds};
  double steps = 0, sum = 0;
  for (const auto& gap : gaps) {
    if (gap.seconds > 20 * pace.line_s + 1) continue;
    steps += gap.steps;
    sum += gap.seconds;
  }
  if (steps > 0) pace.step_s = sum / steps;
  return pace;
}

std::string http_answer(int status, std::string_view reason, std::string_view type, std::string_view body,
                        std::string_view more = "") {
  return fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n"
      "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: same-origin\r\n"
      "{}\r\n{}",
      status, reason, type, body.size(), more, body);
}

std::string refusal(int status, std::string_view reason, std::string_view more = "") {
  return http_answer(status, reason, "text/plain", fmt::format("{} {}\n", status, reason), more);
}

/// The header field's value, trimmed; empty if it is not there. `fields`: lines that end with CR LF or LF.
std::string_view field_of(std::string_view fields, std::string_view name) {
  while (!fields.empty()) {
    auto line = fields.substr(0, fields.find('\n'));
    fields.remove_prefix(std::min(fields.size(), line.size() + 1));
    if (line.size() <= name.size() || line[name.size()] != ':') continue;
    const bool same = std::equal(name.begin(), name.end(), line.begin(), [](char a, char b) {
      return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b - 'A' + 'a') : b);
    });
    if (!same) continue;
    line.remove_prefix(name.size() + 1);
    const size_t begin = line.find_first_not_of(" \t\r");
    return begin == std::string_view::npos ? "" : line.substr(begin, line.find_last_not_of(" \t\r") + 1 - begin);
  }
  return "";
}

/// Whether the browser thinks it talks to its own machine. A page of some other name that was made to point here must
/// not read the run.
bool is_local(std::string_view host) {
  for (const std::string_view name : {"127.0.0.1", "localhost", "[::1]"}) {
    if (host.starts_with(name) && (host.size() == name.size() || host[name.size()] == ':')) return true;
  }
  return false;
}

/// The value of KEY in "a=1&b=2", `otherwise` if it is missing or no number.
double query_number(std::string_view query, std::string_view key, double otherwise) {
  while (!query.empty()) {
    const auto pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    if (!pair.starts_with(key) || pair.size() <= key.size() || pair[key.size()] != '=') continue;
    const auto text = pair.substr(key.size() + 1);
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() && std::isfinite(value) ? value : otherwise;
  }
  return otherwise;
}

}  // namespace

/// Reads a request, writes the answer, then takes in what the client still sends: closing before would drop the answer.
struct LiveServer::Connection {
  explicit Connection(int descriptor_) : descriptor(descriptor_) {}
  ~Connection() { ::close(descriptor); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int descriptor;
  enum { kReading, kWriting, kDraining } state = kReading;
  std::string request, answer;
  size_t written = 0, drained = 0;
  Clock::time_point deadline = Clock::now() + seconds(10);
};

LiveServer::LiveServer(const std::filesystem::path& dump_dir, int port) : follower_(dump_dir) {
  LT2_CHECK(port >= 0 && port <= 65535, "port must be 0 (any free one) to 65535, found {}", port);
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  LT2_CHECK(listener_ >= 0, "cannot make a socket: {}", std::strerror(errno));
  const int on = 1;
  ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, SOMAXCONN) != 0 ||
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    const int reason = errno;
    ::close(listener_);
    fail("port {}: {}; choose another with port=N, or port=0 for any free one", port, std::strerror(reason));
  }
  port_ = ntohs(address.sin_port);
}

LiveServer::~LiveServer() { ::close(listener_); }

std::string LiveServer::url() const { return fmt::format("http://127.0.0.1:{}/", port_); }

void LiveServer::run(const std::function<bool()>& stop) {
  std::vector<pollfd> waiting;
  while (!stop()) {
    waiting.assign(1, {listener_, POLLIN, 0});
    for (const auto& connection : connections_) {
      const short wanted = connection->state == Connection::kWriting ? POLLOUT : POLLIN;
      waiting.push_back({connection->descriptor, wanted, 0});
    }
    if (::poll(waiting.data(), waiting.size(), 200) < 0) {
      LT2_CHECK(errno == EINTR, "poll: {}", std::strerror(errno));
      continue;
    }
    for (size_t i = 0; i < connections_.size(); ++i) {
      auto& connection = connections_[i];
      if (Clock::now() > connection->deadline || !serve(*connection, waiting[i + 1].revents)) connection.reset();
    }
    std::erase(connections_, nullptr);
    if (waiting[0].revents != 0) accept_all();
  }
  connections_.clear();
}

void LiveServer::accept_all() {
  for (;;) {
    const int descriptor = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (descriptor < 0) {
      // Out of descriptors: an old connection gives one back.
      if ((errno == EMFILE || errno == ENFILE) && !connections_.empty()) connections_.erase(connections_.begin());
      return;
    }
    // A crowd of idle connections must not keep a new one out.
    if (connections_.size() >= kMostConnections) connections_.erase(connections_.begin());
    connections_.push_back(std::make_unique<Connection>(descriptor));
  }
}

/// False once the connection is done with.
bool LiveServer::serve(Connection& connection, short events) {
  constexpr size_t kMostDrained = size_t{1} << 20;
  if (events == 0) return true;
  if (connection.state != Connection::kWriting) {
    char buffer[4096];
    const auto got = ::recv(connection.descriptor, buffer, sizeof buffer, 0);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got == 0) return false;
    if (connection.state == Connection::kDraining) {
      connection.drained += static_cast<size_t>(got);
      return connection.drained <= kMostDrained;
    }
    connection.request.append(buffer, static_cast<size_t>(got));
    const bool complete = connection.request.find("\r\n\r\n") != std::string::npos ||
                          connection.request.find("\n\n") != std::string::npos;
    if (!complete && connection.request.size() < kMostRequestBytes) return true;
    connection.answer = complete && connection.request.size() <= kMostRequestBytes
                            ? answer(connection.request)
                            : refusal(431, "Request Header Fields Too Large");
    connection.state = Connection::kWriting;
    connection.deadline = Clock::now() + seconds(30);
  }
  while (connection.written < connection.answer.size()) {
    const auto sent = ::send(connection.descriptor, connection.answer.data() + connection.written,
                             connection.answer.size() - connection.written, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN || errno == EINTR;
    connection.written += static_cast<size_t>(sent);
    connection.deadline = Clock::now() + seconds(30);
  }
  ::shutdown(connection.descriptor, SHUT_WR);
  connection.state = Connection::kDraining;
  connection.deadline = Clock::now() + seconds(2);
  return true;
}

/// Takes in what the run wrote since. Files that cannot be read leave the last good state, and the reason.
void LiveServer::read_run_files() {
  error_.clear();
  try {
    follower_.refresh();
  } catch (const Error& error) {
    error_ = error.what();
  }
}

std::string LiveServer::answer(std::string_view request) {
  const auto line = request.substr(0, request.find_first_of("\r\n"));
  const auto fields = request.substr(std::min(request.size(), request.find('\n') + 1));
  const size_t first = line.find(' '), last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return refusal(400, "Bad Request");
  const auto method = line.substr(0, first), target = line.substr(first + 1, last - first - 1);
  if (!line.substr(last + 1).starts_with("HTTP/1.")) return refusal(505, "HTTP Version Not Supported");
  if (method != "GET") return refusal(405, "Method Not Allowed", "Allow: GET\r\n");
  if (!is_local(field_of(fields, "host"))) return refusal(403, "Forbidden: ask for 127.0.0.1 or localhost");
  const auto path = target.substr(0, target.find('?'));
  const auto query = target.substr(std::min(target.size(), path.size() + 1));
  if (path != "/" && path != "/charts" && path != "/points") return refusal(404, "Not Found");
  read_run_files();
  if (path == "/points") return http_answer(200, "OK", "application/json", points(query));
  const auto& run = follower_.run();
  if (path == "/charts") {
    if (charts_version_ != follower_.version()) {
      charts_ = render_changing_part(run);
      charts_version_ = follower_.version();
    }
    return http_answer(200, "OK", "text/html", charts_);
  }
  const LivePart live{
      .style = kLiveStyle,
      .script = kLiveScript,
      .status = fmt::format(
          "<div id=\"live\" class=\"live\" data-step=\"{}\" data-epoch=\"{}\" data-version=\"{}\">"
          "<span data-is=\"state\">looking</span><span>step <b data-is=\"step\">–</b></span>"
          "<span>loss <b data-is=\"loss\">–</b></span><span><b data-is=\"speed\">–</b> tokens/s</span>"
          "<span><b data-is=\"left\">–</b> left</span><progress value=\"0\" max=\"1\" aria-hidden=\"true\"></progress>"
          "</div>\n",
          run.train.empty() ? -1 : run.train.rbegin()->first, follower_.epoch(), follower_.version())};
  return http_answer(200, "OK", "text/html", render_report(run, &live));
}

std::string LiveServer::points(std::string_view query) {
  const auto& run = follower_.run();
  const double after = query_number(query, "epoch", -1) == static_cast<double>(follower_.epoch())
                           ? query_number(query, "after", -INFINITY)
                           : -INFINITY;
  const auto finite = [](double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); };
  const auto pace = pace_of(run);
  const double silent = follower_.silent_s();
  Json out{{"epoch", follower_.epoch()}, {"version", follower_.version()}};
  const TrainPoint none;
  const auto& point = run.train.empty() ? none : run.train.rbegin()->second;
  const double step = run.train.empty() ? kAbsent : run.train.rbegin()->first;
  const double least =
      std::isfinite(pace.line_s) ? std::max(kLeastSilence, kSilentPauses * pace.line_s) : kLeastSilence;
  out["state"] = !error_.empty()     ? "error"
                 : std::isnan(step)  ? "waiting"
                 : step >= run.steps ? "finished"
                 : silent > least    ? "silent"
                                     : "running";
  if (!error_.empty()) out["error"] = valid_utf8(error_);
  out["step"] = finite(step);
  out["steps"] = finite(run.steps);
  out["total_tokens"] = finite(point.total_tokens);
  out["loss"] = finite(point.loss);
  out["tokens_per_s"] = finite(point.tokens_per_s);
  out["left_s"] = finite(std::max(run.steps - step, 0.0) * pace.step_s);
  out["silent_s"] = finite(silent);
  out["columns"] = {"step", "loss", "gradient_norm", "tokens_per_s"};
  auto rows = Json::array();
  auto at = run.train.upper_bound(after);
  for (; at != run.train.end() && rows.size() < kMostPoints; ++at) {
    rows.push_back({at->first, finite(at->second.loss), finite(at->second.grad_norm), finite(at->second.tokens_per_s)});
  }
  out["points"] = std::move(rows);
  out["more"] = at != run.train.end();  // ask again, after the last of these
  return out.dump();
}

void serve_live(const std::filesystem::path& dump_dir, int port) {
  LiveServer server(dump_dir, port);
  catch_stop_signals();
  print_out("{} shows {}; Ctrl-C ends it\n", server.url(), dump_dir.string());
  flush_out();
  server.run([] { return stop_signal() != 0; });
}

}  // namespace lt2
