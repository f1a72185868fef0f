#pragma once
// The look shared by every page: type, colours (light and dark), tables, tiles.
#include <string_view>

namespace lt2 {

/// Style sheet of a page. The six series colours stay apart under the common forms of colour blindness and have a
/// contrast of at least 4.5 on their ground.
inline constexpr std::string_view kPageStyle = R"CSS(:root {
  color-scheme: light dark;
  --ground: #fff; --panel: #f5f6f8; --ink: #1b2027; --ink-soft: #596270; --line: #dfe3e8;
  --series-1: #0a63b5; --series-2: #bd4a00; --series-3: #00745a; --series-4: #a03a7c; --series-5: #6d5f00;
  --series-6: #535c69; --alert: #c2183c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171c; --panel: #1d2128; --ink: #e7eaee; --ink-soft: #a2abb8; --line: #333a44;
    --series-1: #69b1ff; --series-2: #ff9b52; --series-3: #3ccfa4; --series-4: #ee8cc4; --series-5: #dcc94b;
    --series-6: #a9b4c2; --alert: #ff7d8c;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.6 system-ui, sans-serif; }
main { max-width: 860px; margin: 0 auto; padding: 2.2rem 1rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; letter-spacing: -.015em; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 3.2rem 0 .3rem; }
p { margin: .4rem 0 .8rem; max-width: 44rem; overflow-wrap: anywhere; }
.soft, .missing { color: var(--ink-soft); font-size: .93rem; }
.spike { color: var(--alert); }
.lead { font-size: 1.13rem; line-height: 1.55; margin: 1rem 0 1.4rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .8rem; margin: 1.4rem 0; }
.tile { background: var(--panel); border-radius: 10px; padding: .8rem 1rem; min-width: 0; }
.tile b { display: block; font-size: 1.75rem; line-height: 1.2; font-weight: 650; letter-spacing: -.02em; }
.tile b small { font-size: .95rem; font-weight: 500; letter-spacing: 0; color: var(--ink-soft); white-space: nowrap; }
.tile span { display: block; font-size: .86rem; line-height: 1.4; color: var(--ink-soft); margin-top: .25rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .93rem; font-variant-numeric: tabular-nums; }
.scroll > table { width: 100%; }
th, td { padding: .38rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--ink-soft); vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
th.text, td.text { text-align: left; }
tr.group > * { border-top: 2px solid var(--line); }
dl.facts { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .25rem 1.4rem; margin: .8rem 0;
  font-size: .95rem; }
dl.facts dt { color: var(--ink-soft); }
dl.facts dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; min-width: 0; }
pre { font: .84rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; background: var(--panel);
  border-radius: 10px; padding: .8rem 1rem; margin: .6rem 0; overflow-x: auto; tab-size: 4; unicode-bidi: isolate; }
pre.wrap { white-space: pre-wrap; overflow-wrap: anywhere; }
.samples { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 0 1.2rem;
  margin: .6rem 0 1.2rem; }
.samples h3 { font-size: .95rem; margin: .8rem 0 0; }
.samples h3 small { font-weight: 400; color: var(--ink-soft); font-size: .88rem; }
.samples > div { min-width: 0; }
pre .prompt { font-weight: 700; color: var(--series-1); }
details > summary { cursor: pointer; color: var(--ink-soft); }
@media (max-width: 480px) {
  .tiles { grid-template-columns: 1fr 1fr; }
  .tile { padding: .7rem .8rem; }
  .tile b { font-size: 1.45rem; }
  th, td { padding: .35rem .45rem; font-size: .87rem; }
  dl.facts { grid-template-columns: 1fr; gap: 0; }
  dl.facts dd { margin-bottom: .5rem; }
}
)CSS";

}  // namespace lt2
