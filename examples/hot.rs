use squall::Value;
use squall::components::count::*;
use squall::components::split::*;
use squall::testing::*;
use squall::topology::registry::Registry;
use std::time::Instant;
fn main() {
    let text = std::fs::read_to_string("topologies/data/founding_documents.txt").unwrap();
    let r = Registry::with_standard();
    let o = HarnessOptions::default();
    let mut split = BoltHarness::registered(&r, "split", "", &o).unwrap();
    let mut lines =
        SpoutHarness::registered(&r, "lines", "path = 'topologies/data/founding_documents.txt'", &o).unwrap();
    let t = Instant::now();
    let _ = lines.run(10_000_000);
    println!("lines via harness {:?} /line", t.elapsed() / 1367);
    let tuples: Vec<_> = text.lines().map(|l| TestTuple::new([l]).fields(["line"])).collect();
    for _ in 0..3 {
        let t = Instant::now();
        split.execute_all(tuples.iter().cloned());
        let n = split.take_rows("default").len();
        println!("split {} words, {:?}/word incl. harness", n, t.elapsed() / n as u32);
    }
    let words: Vec<Value> = text.split_whitespace().map(Value::from).collect();
    let fields = squall::Fields::from(["word"]);
    let mut count = BoltHarness::registered(&r, "count", "by=['word']\nemit='final'", &o).unwrap();
    for _ in 0..3 {
        let ts: Vec<_> = words.iter().map(|w| TestTuple::new([w]).fields(fields.clone())).collect();
        let t = Instant::now();
        count.execute_all(ts);
        println!("count {:?}/word incl. harness", t.elapsed() / words.len() as u32);
    }
    let _ = Split::new(SplitSettings::default());
    let _ = CountSettings::default();
}
