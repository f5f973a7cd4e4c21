"""The page of suspected pairs. A module and not a file of its own, so that a change to it changes a dataset's key."""

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Pairs to judge: {{ name }}</title>
<style>
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5c6675; --line: #d7dce4; --card: #fff; --ground: #f3f5f8;
  --mark: #0b63ce; --odd: #a33b00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaf0; --soft: #9aa5b5; --line: #37404d; --card: #1d232c; --ground: #14181f; --mark: #6aa9ff;
    --odd: #ffb27a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 28px 20px 60px; font: 16px/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--ground); }
h1 { font-size: 1.6rem; margin: 0 0 4px; }
h2 { font-size: 1.15rem; margin: 36px 0 4px; }
p { margin: 4px 0 12px; max-width: 75ch; color: var(--soft); }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 540px), 1fr)); gap: 16px; }
.pair { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px; min-width: 0; }
.pair.said { border-color: var(--mark); box-shadow: inset 0 0 0 1px var(--mark); }
.head { display: flex; flex-wrap: wrap; gap: 4px 10px; align-items: baseline; margin-bottom: 10px; }
.bits { font-weight: 600; }
.odd { color: var(--odd); font-weight: 600; }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; }
figure { margin: 0; min-width: 0; }
img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #000; border-radius: 6px; }
img.turned { transform: scaleX(-1); }
figcaption { font-size: .85rem; overflow-wrap: anywhere; margin-top: 6px; }
figcaption b { display: block; }
figcaption span { color: var(--soft); display: block; }
fieldset { border: 0; margin: 12px 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: 4px 18px; }
label { cursor: pointer; }
textarea, input[type=text] { width: 100%; font: 14px/1.45 ui-monospace, monospace; color: var(--ink);
  background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 8px; }
textarea { height: 190px; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
.outcome { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 16px; }
.outcome div { min-width: 0; }
@media print { fieldset, .outcome { display: none; } .pair { break-inside: avoid; } }
</style>
</head>
<body>
<h1>Pairs to judge in {{ name }}</h1>
<p>Photographs of one eye, or copies of one photograph, may not stand in two splits. These pairs look alike. Distance is
the number of bits, of 256, in which their perceptual hashes differ; pairs of different eyes are mostly 100 and more
apart. Where one is like the other's mirror image, the second is shown mirrored.</p>
{% for status, total, pairs in sections %}
{% if status == "suspected" %}
<h2>Suspected: {{ total }} {{ "pair" if total == 1 else "pairs" }}, 17 to 28 bits apart</h2>
<p>They are not linked, and may stand in two splits. Say <em>same</em> where both show one eye.</p>
{% else %}
<h2>Linked by their looks: {{ total }} {{ "pair" if total == 1 else "pairs" }}, up to 16 bits apart</h2>
<p>They are taken for one photograph and kept in one split. Say <em>different</em> where that is wrong.</p>
{% endif %}
{% if pairs|length < total %}
<p>Shown: {{ pairs|length }} of {{ total }}, the oddest and nearest first; suspects.csv lists more.</p>
{% endif %}
<div class="pairs">
{% for pair in pairs %}
<div class="pair" data-first="{{ pair.first }}" data-second="{{ pair.second }}">
<div class="head"><span class="bits">{{ pair.distance_bits }} bits{{ ", mirrored" if pair.mirrored }}</span>
{% for note in pair.notes %}<span class="odd">{{ note }}</span>{% endfor %}</div>
<div class="two">
{% for image_id, facts in [(pair.first, pair.said[0]), (pair.second, pair.said[1])] %}
<figure>
{% if thumbnails[image_id] %}
<img src="{{ thumbnails[image_id] }}" alt="{{ image_id }}"
  class="{{ "turned" if pair.mirrored and not loop.first }}">
{% endif %}
<figcaption><b>{{ image_id }}{{ " (shown mirrored)" if pair.mirrored and not loop.first }}</b>
{% for what, fact in facts.items() %}<span>{{ what }}: {{ fact }}</span>{% endfor %}</figcaption>
</figure>
{% endfor %}
</div>
<fieldset>
<label><input type="radio" name="{{ pair.first }}/{{ pair.second }}" value="" checked> not judged</label>
<label><input type="radio" name="{{ pair.first }}/{{ pair.second }}" value="same"> same</label>
<label><input type="radio" name="{{ pair.first }}/{{ pair.second }}" value="different"> different</label>
</fieldset>
</div>
{% endfor %}
</div>
{% endfor %}
<h2>Your judgements</h2>
<p>They are kept by the flow <code>judge</code>. Save the left text as <code>judged.yaml</code> and run
<code>python -m flows.judge --config judged.yaml</code>, or give the right text to the deployment
<code>judge/judge</code> (in Prefect's pages, or with
<code>prefect deployment run judge/judge --params '..'</code>). Then normalize again.</p>
<p><label>Your name: <input type="text" id="by" value="" maxlength="200"></label></p>
<div class="outcome" data-name="{{ name }}">
<div><label for="yaml">judged.yaml</label>
<textarea id="yaml" readonly spellcheck="false"></textarea></div>
<div><label for="json">Parameters of the deployment</label>
<textarea id="json" readonly spellcheck="false"></textarea></div>
</div>
<script>
"use strict";
const quoted = JSON.stringify;
function show() {
  const said = [];
  for (const pair of document.querySelectorAll(".pair")) {
    const verdict = pair.querySelector("input:checked").value;
    pair.classList.toggle("said", verdict !== "");
    if (verdict) said.push({first: pair.dataset.first, second: pair.dataset.second, verdict});
  }
  const name = document.querySelector(".outcome").dataset.name, by = document.getElementById("by").value;
  const lines = said.map(one =>
    `- {first: ${quoted(one.first)}, second: ${quoted(one.second)}, verdict: ${one.verdict}}`);
  document.getElementById("yaml").value =
    [`name: ${quoted(name)}`, `by: ${quoted(by)}`, lines.length ? "pairs:" : "pairs: []", ...lines, ""].join("\\n");
  document.getElementById("json").value = JSON.stringify({config: {name, by, pairs: said}}, null, 1);
}
document.addEventListener("input", show);
show();
</script>
</body>
</html>
"""
