//! An isolation forest (Liu, Ting, Zhou 2008) over the numbers of an hour, relative to the device's first week.

use super::super::dice::Dice;
use super::{Features, Rule, FEATURES};

const WEEK: u64 = 168;
const TREES: usize = 50;
const SAMPLES: usize = 256;
const DEPTH: u32 = 8;
/// The numbers, and the hour of day as a place on a circle.
const COLUMNS: usize = FEATURES + 2;
type Row = [f32; COLUMNS];

#[derive(Debug)]
enum Node {
    Leaf(f32),
    Split { column: usize, cut: f32, left: u32, right: u32 },
}

/// The forest; it learns from a sample of the first week.
#[derive(Debug)]
pub(super) struct Forest {
    dice: Dice,
    sums: Vec<(f64, Features)>,
    sample: Vec<(u64, u64, Features)>,
    seen: u64,
    /// Nodes of each tree, the root first.
    trees: Vec<Vec<Node>>,
}

impl Default for Forest {
    fn default() -> Self {
        Self {
            dice: Dice::of(1, "forest", 0),
            sums: Vec::new(),
            sample: Vec::new(),
            seen: 0,
            trees: Vec::new(),
        }
    }
}

impl Rule for Forest {
    fn name(&self) -> &'static str {
        "isolation forest"
    }

    fn usual(&self) -> f64 {
        0.6
    }

    fn hour(&mut self, hour: u64, rows: &[(u64, Features)], scores: &mut Vec<(usize, f64)>) {
        self.sums.resize(rows.len(), (0.0, [0.0; FEATURES]));
        if hour < WEEK {
            self.learn(hour, rows);
            return;
        }
        if self.trees.is_empty() {
            self.grow();
        }
        for (place, ((_, row), (hours, sums))) in rows.iter().zip(&self.sums).enumerate() {
            // Newcomers of later have no first week here.
            if *hours < 24.0 {
                continue;
            }
            let row = relative(row, sums, *hours, hour);
            let depth: f32 = self.trees.iter().map(|tree| depth(tree, &row)).sum();
            let mean = f64::from(depth) / self.trees.len().max(1) as f64;
            scores.push((place, 2_f64.powf(-mean / usual_depth(SAMPLES as f64))));
        }
    }
}

impl Forest {
    fn learn(&mut self, hour: u64, rows: &[(u64, Features)]) {
        for (place, ((_, row), (hours, sums))) in rows.iter().zip(&mut self.sums).enumerate() {
            *hours += 1.0;
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
            // A sample in which each hour has the same chance.
            self.seen += 1;
            let entry = (place as u64, hour, *row);
            if self.sample.len() < TREES * SAMPLES {
                self.sample.push(entry);
            } else {
                let at = self.dice.below(self.seen) as usize;
                if let Some(old) = self.sample.get_mut(at) {
                    *old = entry;
                }
            }
        }
    }

    fn grow(&mut self) {
        let all: Vec<Row> = self
            .sample
            .iter()
            .filter_map(|(place, hour, row)| {
                let (hours, sums) = self.sums.get(*place as usize)?;
                Some(relative(row, sums, *hours, *hour))
            })
            .collect();
        for _ in 0..TREES {
            let rows = (0..SAMPLES.min(all.len())).filter_map(|_| self.dice.pick(&all).copied());
            let rows: Vec<Row> = rows.collect();
            let mut nodes = Vec::new();
            branch(&mut self.dice, rows, 0, &mut nodes);
            self.trees.push(nodes);
        }
        self.sample = Vec::new();
    }
}

fn relative(row: &Features, sums: &Features, hours: f64, hour: u64) -> Row {
    let mut found = [0.0; COLUMNS];
    for ((value, sum), to) in row.iter().zip(sums).zip(&mut found) {
        *to = ((value + 0.1) / (sum / hours + 0.1)).ln() as f32;
    }
    let turn = (hour % 24) as f32 / 24.0 * std::f32::consts::TAU;
    let [.., sin, cos] = &mut found;
    (*sin, *cos) = turn.sin_cos();
    found
}

/// The mean depth of a search that fails, in a tree of so many.
fn usual_depth(count: f64) -> f64 {
    match count {
        count if count > 2.0 => {
            2.0 * ((count - 1.0).ln() + 0.577_215_7) - 2.0 * (count - 1.0) / count
        }
        2.0 => 1.0,
        _ => 0.0,
    }
}

fn branch(dice: &mut Dice, rows: Vec<Row>, level: u32, nodes: &mut Vec<Node>) -> u32 {
    let place = nodes.len() as u32;
    let leaf = Node::Leaf(level as f32 + usual_depth(rows.len() as f64) as f32);
    nodes.push(leaf);
    let column = dice.below(COLUMNS as u64) as usize;
    let values = rows.iter().filter_map(|row| row.get(column).copied());
    let (low, high) = values.fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(v), high.max(v)));
    if level >= DEPTH || rows.len() < 2 || low >= high {
        return place;
    }
    let cut = low + (high - low) * dice.unit() as f32;
    let is_left = |row: &Row| row.get(column).is_some_and(|value| *value <= cut);
    let (left, right): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(is_left);
    let left = branch(dice, left, level + 1, nodes);
    let right = branch(dice, right, level + 1, nodes);
    if let Some(node) = nodes.get_mut(place as usize) {
        *node = Node::Split { column, cut, left, right };
    }
    place
}

fn depth(tree: &[Node], row: &Row) -> f32 {
    let mut place = 0;
    loop {
        match tree.get(place as usize) {
            Some(Node::Split { column, cut, left, right }) => {
                let is_left = row.get(*column).is_some_and(|value| value <= cut);
                place = if is_left { *left } else { *right };
            }
            Some(Node::Leaf(depth)) => return *depth,
            None => return 0.0,
        }
    }
}
