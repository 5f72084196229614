// The form of steps beside the file. The server reads and writes the file: a change of the text asks for the steps, a
// change of the steps asks for the text. The last change wins; an answer to an earlier one is thrown away.
(function () {
  "use strict";
  const SETTLES_MS = 350;
  const STEPS = { attack: "attack", "end-attack": "take an attack out", wait: "wait", "wait-until": "wait until", check: "ask a probe" };
  const UNTIL = ["redundancy-restored", "writes-flow", "finished promotion", "finished switchover", "finished clone", "finished rejoin"];
  const byId = (id) => document.getElementById(id);
  const yaml = byId("yaml"), list = byId("steps"), kinds = JSON.parse(byId("kinds").textContent);
  let steps = [], turn = 0, timer = 0;

  const make = (tag, set = {}, ...inside) => { const one = Object.assign(document.createElement(tag), set); one.append(...inside); return one; };
  async function ask(path, type, body) {
    const mine = ++turn;
    const answer = await fetch(path, { method: "POST", headers: { "content-type": type, accept: "application/json" }, body }).catch(() => null);
    if (mine !== turn) return null;
    if (!answer) return { problem: "The server does not answer; the file stays as it is." };
    const told = await answer.json().catch(() => ({}));
    if (mine !== turn) return null;
    return answer.ok ? told : { problem: told.detail || "The server has refused it." };
  }
  const later = (what) => { turn++; clearTimeout(timer); timer = setTimeout(what, SETTLES_MS); };

  function show(told, redraw) {
    byId("steps-problem").textContent = told.problem || "";
    if (told.problem) return;
    byId("yaml-problems").replaceChildren(make("ul", { className: "plan" },
      ...told.problems.map((text) => make("li", { className: "critical", textContent: "✖ " + text }))));
    if (!told.steps) return;
    byId("drawing").innerHTML = told.drawing;
    if (redraw) { steps = told.steps; draw(); }
  }
  async function textChanged() { const told = await ask("/experiments/edit/parse", "text/plain", yaml.value); if (told) show(told, true); }
  async function stepsChanged() {
    const told = await ask("/experiments/edit/yaml", "application/json", JSON.stringify({ yaml: yaml.value, steps }));
    if (!told) return;
    if (told.yaml !== undefined) yaml.value = told.yaml;
    show(told, false);
  }

  let ids = 0;
  function field(label, control, help) {
    control.id = "step-field-" + ++ids;
    return make("div", {}, make("label", { htmlFor: control.id, textContent: label }), control, ...(help ? [make("small", { textContent: help })] : []));
  }
  const text = (from, name, placeholder) => {
    const input = make("input", { type: "text", value: from[name] || "", placeholder: placeholder || "", autocomplete: "off" });
    input.addEventListener("input", () => { from[name] = input.value; later(stepsChanged); });
    return input;
  };
  const choice = (from, name, words, redraw) => {
    const all = words.includes(from[name] || "") ? words : [from[name] || "", ...words];
    const select = make("select", {}, ...all.map((word) => make("option", { value: word, textContent: STEPS[word] || word || "choose…", selected: word === (from[name] || "") })));
    select.addEventListener("change", () => { from[name] = select.value; if (redraw) redraw(); later(stepsChanged); });
    return select;
  };
  function fields(step, at) {
    const again = () => { draw(); focus(at, "select"); };
    const shown = [field("Step", choice(step, "step", Object.keys(STEPS), again))];
    if (step.step === "attack") {
      const kind = kinds.find((kind) => kind.name === step.kind);
      shown.push(field("Kind", choice(step, "kind", kinds.map((kind) => kind.name), () => { step.parameters = {}; again(); }), kind && kind.summary),
        field("Targets", text(step, "target", "role=primary")), field("Duration", text(step, "duration", "30s")), field("Name", text(step, "name", step.kind)));
      for (const one of kind ? kind.parameters : []) {
        const control = one.choices.length ? choice(step.parameters, one.name, one.required ? one.choices : ["", ...one.choices]) : text(step.parameters, one.name, one.default || "");
        shown.push(field(one.name + (one.required ? " (required)" : ""), control, one.about));
      }
    } else if (step.step === "wait") shown.push(field("How long", text(step, "duration", "5s")));
    else if (step.step === "wait-until") shown.push(field("Until", choice(step, "until", UNTIL)), field("At most", text(step, "duration", "2m")));
    else shown.push(field(step.step === "check" ? "Probe" : "Attack", text(step, "name", "")));
    return shown;
  }
  function focus(at, what) { const item = list.children[Math.min(at, list.children.length - 1)]; if (item) item.querySelector(what)?.focus(); else byId("add-step").focus(); }
  function move(at, by) { const [one] = steps.splice(at, 1); steps.splice(at + by, 0, one); draw(); focus(at + by, by < 0 ? ".up:not(:disabled), .down" : ".down:not(:disabled), .up"); later(stepsChanged); }
  function draw() {
    list.replaceChildren(...steps.map((step, at) => {
      const button = (label, className, disabled, act) => {
        const one = make("button", { type: "button", className, disabled, textContent: label });
        one.setAttribute("aria-label", `${label} step ${at + 1}`);
        one.addEventListener("click", act);
        return one;
      };
      return make("li", {}, make("fieldset", {}, make("legend", { textContent: `${at + 1}. ${STEPS[step.step] || step.step}` }),
        make("div", { className: "step-fields" }, ...fields(step, at)),
        make("div", { className: "actions" }, button("Up", "up", at === 0, () => move(at, -1)), button("Down", "down", at === steps.length - 1, () => move(at, 1)),
          button("Remove", "danger", false, () => { steps.splice(at, 1); draw(); focus(at, "select"); later(stepsChanged); }))));
    }));
  }
  byId("add-step").addEventListener("click", () => {
    steps.push({ step: "wait", kind: "", name: "", target: "", duration: "5s", until: "", parameters: {} });
    draw();
    focus(steps.length - 1, "select");
    later(stepsChanged);
  });
  yaml.addEventListener("input", () => later(textChanged));
  byId("steps-card").hidden = false;
  textChanged();
})();
