//! Where everything is drawn: side by side on a wide page, one below the other on a narrow one. All lengths in the
//! drawing's own units, which are pixels where there is room.

use super::{Flow, Gateway, Member, sign};
use firedrill_model::{NodeName, RegionName, Role};

/// Longest line in a box, in characters; the table beside the drawing has everything in full.
const LINE_CHARS: usize = 24;
/// The same in the narrow drawing, whose boxes are wider.
const NARROW_LINE_CHARS: usize = 36;
/// Attacks and operations shown in one box each.
const LINES_EACH: usize = 2;
const LINE: i32 = 18;

/// Both drawings and what they say in words.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Topology {
    pub(crate) drawings: [Drawing; 2],
    pub(crate) text: String,
}

/// One drawing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Drawing {
    /// `wide` or `narrow`: the style sheet shows one of them.
    pub(crate) form: &'static str,
    pub(crate) width: i32,
    pub(crate) height: i32,
    pub(crate) regions: Vec<Area>,
    pub(crate) arrows: Vec<Arrow>,
    pub(crate) boxes: Vec<Area>,
}

/// A region, a node or the gateway.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Area {
    pub(crate) id: String,
    pub(crate) class: String,
    pub(crate) x: i32,
    pub(crate) y: i32,
    pub(crate) width: i32,
    pub(crate) height: i32,
    pub(crate) lines: Vec<Line>,
}

/// One line of text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) class: &'static str,
    pub(crate) x: i32,
    pub(crate) y: i32,
    pub(crate) anchor: &'static str,
    pub(crate) text: String,
}

/// From a source to a node, or from the gateway to where it sends connections.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arrow {
    pub(crate) id: String,
    pub(crate) class: &'static str,
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) labels: Vec<Line>,
}

impl Topology {
    /// Draws a cluster; the first member's region is the primary's.
    pub(crate) fn of(members: &[Member<'_>], gateway: Option<&Gateway<'_>>) -> Self {
        Self { drawings: [wide(members, gateway), narrow(members, gateway)], text: text(members, gateway) }
    }
}

/// Regions in the order of the members, each with its nodes, those that feed others first.
fn regions<'m, 'a>(members: &'m [Member<'a>]) -> Vec<(&'a RegionName, Vec<(usize, &'m Member<'a>)>)> {
    let mut regions: Vec<(&RegionName, Vec<(usize, &Member<'_>)>)> = Vec::new();
    for member in members {
        let home = members.first().is_some_and(|first| first.node.region == member.node.region);
        let placed = (depth(member.node.role, home), member);
        match regions.iter_mut().find(|(name, _)| **name == member.node.region) {
            Some((_, nodes)) => nodes.push(placed),
            None => regions.push((&member.node.region, vec![placed])),
        }
    }
    for (_, nodes) in &mut regions {
        nodes.sort_by(|(one_depth, one), (other_depth, other)| {
            (one_depth, &one.node.name).cmp(&(other_depth, &other.node.name))
        });
    }
    regions
}

/// Steps from the primary.
fn depth(role: Role, home: bool) -> usize {
    match role {
        Role::Primary => 0,
        Role::Replica | Role::PseudoPrimary => 1,
        Role::PseudoReplica => 2,
        Role::OutOfService => 1 + usize::from(!home),
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// Adds lines for attacks or operations: the first few, and how many more there are.
fn some(lines: &mut Vec<(&'static str, String)>, class: &'static str, mark: &str, all: &[String]) {
    lines.extend(all.iter().take(LINES_EACH).map(|text| (class, format!("{mark} {text}"))));
    if all.len() > LINES_EACH {
        lines.push((class, format!("{mark} and {} more", all.len() - LINES_EACH)));
    }
}

fn node_lines(member: &Member<'_>, with_link: bool) -> Vec<(&'static str, String)> {
    let node = member.node;
    let role = if node.role == Role::Primary { format!("★ {}", node.role) } else { node.role.to_string() };
    let mut lines = vec![("name", node.name.to_string()), ("role", role)];
    lines.push(("health", format!("{} {}", sign(node.health), node.health)));
    if let Some(link) = member.link.as_ref().filter(|_| with_link) {
        let mark = if link.flow == Flow::Flowing { "←" } else { "↚" };
        lines.push(("soft", format!("{mark} {}, {}", link.mode, link.lag)));
    }
    some(&mut lines, "attack", "⚠", &member.attacks);
    let work: Vec<String> = member.work.iter().map(|(text, _)| text.clone()).collect();
    some(&mut lines, "work", "↻", &work);
    lines
}

fn gateway_lines(gateway: &Gateway<'_>) -> Vec<(&'static str, String)> {
    let mut lines = vec![("name", "gateway".to_owned()), ("soft", gateway.host.to_string())];
    lines.push(match gateway.route {
        Some(node) => ("role", format!("→ {node}")),
        None => ("attack", "‖ holds".to_owned()),
    });
    some(&mut lines, "attack", "⚠", &gateway.attacks);
    lines
}

fn height(lines: &[(&'static str, String)]) -> i32 {
    14 + LINE * i32::try_from(lines.len()).unwrap_or(LINE)
}

fn area(id: String, class: String, place: (i32, i32, i32), lines: Vec<(&'static str, String)>, most: usize) -> Area {
    let (x, y, width) = place;
    let height = height(&lines);
    let line = |(number, (class, text)): (i32, (&'static str, String))| Line {
        class,
        x: x + 12,
        y: y + 20 + LINE * number,
        anchor: "start",
        text: cut(&text, most),
    };
    let lines = (0..).zip(lines).map(line).collect();
    Area { id, class, x, y, width, height, lines }
}

fn node_class(member: &Member<'_>) -> String {
    let attacked = if member.attacks.is_empty() { "" } else { " attacked" };
    format!("node {}{attacked}", member.node.health)
}

fn region(form: &str, name: &RegionName, place: (i32, i32, i32), height: i32) -> Area {
    let (x, y, width) = place;
    let label = Line { class: "soft", x: x + 12, y: y + 20, anchor: "start", text: cut(&format!("region {name}"), 40) };
    Area { id: format!("{form}-region-{name}"), class: "region".to_owned(), x, y, width, height, lines: vec![label] }
}

const WIDE: i32 = 1000;
/// Left edges of the primary, of what follows it, and of what follows that.
const COLUMNS: [i32; 3] = [166, 484, 802];
const BOX: i32 = 184;
const BETWEEN: i32 = 30;
const HEAD: i32 = 30;

fn wide(members: &[Member<'_>], gateway: Option<&Gateway<'_>>) -> Drawing {
    let mut drawing = Drawing { form: "wide", width: WIDE, height: 4, regions: vec![], arrows: vec![], boxes: vec![] };
    for (name, nodes) in regions(members) {
        let inner = |column: usize| {
            let heights =
                nodes.iter().filter(|(depth, _)| *depth == column).map(|(_, m)| height(&node_lines(m, false)));
            heights.map(|height| height + BETWEEN).sum::<i32>() - BETWEEN
        };
        let tallest = (0..COLUMNS.len()).map(inner).max().unwrap_or(0);
        let top = drawing.height;
        let mut next = [0, 1, 2].map(|column| top + HEAD + (tallest - inner(column)) / 2);
        for (depth, member) in &nodes {
            let place = (COLUMNS[*depth], next[*depth], BOX);
            let id = format!("wide-node-{}", member.node.name);
            let drawn = area(id, node_class(member), place, node_lines(member, false), LINE_CHARS);
            next[*depth] += drawn.height + BETWEEN;
            drawing.boxes.push(drawn);
        }
        drawing.regions.push(region("wide", name, (150, top, WIDE - 154), HEAD + tallest + 14));
        drawing.height = top + HEAD + tallest + 14 + 14;
    }
    drawing.height -= 10;
    if let Some(gateway) = gateway {
        let lines = gateway_lines(gateway);
        let beside = gateway.route.and_then(|node| find(&drawing, node)).or(drawing.boxes.first());
        let middle = beside.map_or(60, |beside| beside.y + beside.height / 2);
        let y = (middle - height(&lines) / 2).clamp(4, (drawing.height - height(&lines)).max(4));
        drawing.boxes.push(area("wide-gateway".to_owned(), "gateway".to_owned(), (4, y, 118), lines, 15));
        drawing.height = drawing.height.max(y + drawing.boxes.last().map_or(0, |drawn| drawn.height) + 4);
    }
    drawing.arrows = arrows(&drawing, members, gateway, across);
    drawing
}

const NARROW: i32 = 340;

fn narrow(members: &[Member<'_>], gateway: Option<&Gateway<'_>>) -> Drawing {
    let mut drawing =
        Drawing { form: "narrow", width: NARROW, height: 4, regions: vec![], arrows: vec![], boxes: vec![] };
    if let Some(gateway) = gateway {
        let lines = gateway_lines(gateway);
        let place = (4, 4, NARROW - 8);
        let drawn = area("narrow-gateway".to_owned(), "gateway".to_owned(), place, lines, NARROW_LINE_CHARS);
        drawing.height += drawn.height + 14;
        drawing.boxes.push(drawn);
    }
    for (name, nodes) in regions(members) {
        let top = drawing.height;
        let mut y = top + HEAD;
        for (depth, member) in nodes {
            let x = 26 + 28 * i32::try_from(depth).unwrap_or(0);
            let id = format!("narrow-node-{}", member.node.name);
            let place = (x, y, NARROW - 12 - x);
            let drawn = area(id, node_class(member), place, node_lines(member, true), NARROW_LINE_CHARS);
            y += drawn.height + 12;
            drawing.boxes.push(drawn);
        }
        drawing.regions.push(region("narrow", name, (4, top, NARROW - 8), y - top));
        drawing.height = y + 14;
    }
    drawing.height -= 10;
    drawing.arrows = arrows(&drawing, members, gateway, down);
    drawing
}

fn find<'d>(drawing: &'d Drawing, node: &NodeName) -> Option<&'d Area> {
    let id = format!("{}-node-{node}", drawing.form);
    drawing.boxes.iter().find(|area| area.id == id)
}

/// An arrow's line, its head, and where its labels end; no place: the box itself has them.
type Drawn = (String, String, Option<(i32, i32)>);

fn arrows(
    drawing: &Drawing,
    members: &[Member<'_>],
    gateway: Option<&Gateway<'_>>,
    draw: impl Fn(&Area, &Area) -> Drawn,
) -> Vec<Arrow> {
    let form = drawing.form;
    let mut arrows = Vec::new();
    for member in members {
        let Some(link) = &member.link else { continue };
        let (Some(from), Some(to)) = (find(drawing, &link.source), find(drawing, &member.node.name)) else { continue };
        let (path, head, place) = draw(from, to);
        let label = |(y, class, text): (i32, &'static str, &str)| {
            place.map(|(x, middle)| Line { class, x, y: middle + y, anchor: "end", text: cut(text, LINE_CHARS) })
        };
        let (lag, behind) =
            link.lag.split_once(", ").map_or((link.lag.as_str(), None), |(lag, rest)| (lag, Some(rest)));
        let words = [(-7, "mode", link.mode), (15, "lag", lag)].into_iter().chain(behind.map(|text| (29, "lag", text)));
        let labels = words.filter_map(label).collect();
        let id = format!("{form}-arrow-{}", member.node.name);
        arrows.push(Arrow { id, class: link.flow.class(), path, head, labels });
    }
    let gateway_box = drawing.boxes.iter().find(|area| area.class == "gateway");
    let routed = gateway.and_then(|gateway| gateway.route).and_then(|node| find(drawing, node));
    if let (Some(from), Some(to)) = (gateway_box, routed) {
        let (path, head, _) = draw(from, to);
        arrows.push(Arrow { id: format!("{form}-arrow-gateway"), class: "route", path, head, labels: vec![] });
    }
    arrows
}

fn head_right(x: i32, y: i32) -> String {
    format!("{x},{y} {},{} {},{}", x - 9, y - 5, x - 9, y + 5)
}

/// To the right into the left side of the node; between nodes of one column around their right side.
fn across(from: &Area, to: &Area) -> Drawn {
    let (start, y0, y1) = (from.x + from.width, from.y + from.height / 2, to.y + to.height / 2);
    if to.x > start {
        let bend = 22.min((to.x - start) / 3);
        let path = format!(
            "M{start} {y0}C{} {y0} {} {y1} {} {y1}L{} {y1}",
            start + bend,
            start + bend,
            start + 2 * bend,
            to.x - 8
        );
        return (path, head_right(to.x, y1), Some((to.x - 12, y1)));
    }
    let end = to.x + to.width;
    let out = start.max(end) + 12;
    let path = format!("M{start} {y0}C{out} {y0} {out} {y1} {} {y1}", end + 8);
    let head = format!("{end},{y1} {},{} {},{}", end + 9, y1 - 5, end + 9, y1 + 5);
    // Above the box: beside it there may be another one's label.
    (path, head, Some((end, to.y - 16)))
}

/// Down along a line left of the node, as in a tree of files; else around the left edge.
fn down(from: &Area, to: &Area) -> Drawn {
    let y1 = to.y + to.height / 2;
    let trunk = from.x + 12;
    let path = if to.y > from.y && trunk < to.x - 8 {
        format!("M{trunk} {}V{y1}H{}", from.y + from.height, to.x - 8)
    } else {
        format!("M{} {}H12V{y1}H{}", from.x, from.y + from.height / 2, to.x - 8)
    };
    (path, head_right(to.x, y1), None)
}

/// The drawing in words, for those who cannot see it.
fn text(members: &[Member<'_>], gateway: Option<&Gateway<'_>>) -> String {
    let mut sentences = Vec::new();
    for (name, nodes) in regions(members) {
        let nodes = nodes.iter().map(|(_, member)| in_words(member));
        sentences.push(format!("Region {name}: {}.", nodes.collect::<Vec<_>>().join("; ")));
    }
    if let Some(gateway) = gateway {
        let attacked = gateway.attacks.iter().map(|attack| format!(" Attacked: {attack}.")).collect::<String>();
        sentences.push(match gateway.route {
            Some(node) => format!("The gateway sends connections to {node}.{attacked}"),
            None => format!("The gateway holds connections.{attacked}"),
        });
    }
    sentences.join(" ")
}

fn in_words(member: &Member<'_>) -> String {
    let node = member.node;
    let mut words = format!("{} is {}, {}", node.name, node.role, node.health);
    if let Some(link) = &member.link {
        words.push_str(&format!(", follows {} ({}, {})", link.source, link.mode, link.lag));
    }
    for attack in &member.attacks {
        words.push_str(&format!(", attacked: {attack}"));
    }
    for (text, _) in &member.work {
        words.push_str(&format!(", {text}"));
    }
    words
}
