//! Every instant at which publishing can be cut, and repeats that must survive it.

use serde_json::json;

use super::*;

struct Fixture {
    _dir: tempfile::TempDir,
    layout: RunLayout,
}

fn address(text: &str) -> Address {
    Address(text.to_owned())
}

fn id(step: &str, attempt: u32) -> AttemptId {
    AttemptId { run: "r".to_owned(), address: address(step), attempt, key: Digest::of(b"key") }
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { layout: RunLayout::new(dir.path()), _dir: dir }
    }

    /// An attempt with two files, not sealed yet.
    fn part(&self, step: &str, attempt: u32) -> PathBuf {
        let part = prepare(&self.layout, &address(step), attempt).unwrap();
        fs::write(part.join("results.json"), format!("{step} {attempt}")).unwrap();
        create_dir(&part.join("deep")).unwrap();
        fs::write(part.join("deep/records.bin"), [attempt as u8; 1000]).unwrap();
        part
    }

    fn seal(&self, step: &str, attempt: u32) -> PathBuf {
        self.part(step, attempt);
        seal(&self.layout, &id(step, attempt), &StepOutcome::ok(json!(attempt)), true).unwrap();
        self.layout.whole(&address(step), attempt)
    }

    fn published(&self, place: &str) -> Option<(String, u32)> {
        let folder = self.layout.root().join(place);
        assert!(manifest_in(&folder).is_none() || faults(&folder).is_empty());
        manifest_in(&folder).map(|(manifest, _)| (manifest.address.0, manifest.attempt))
    }

    fn find(&self, step: &str, attempt: u32, place: &str) -> Option<PathBuf> {
        find_whole(&self.layout, &address(step), attempt, Some(Path::new(place)), None).map(|(folder, ..)| folder)
    }
}

const C4: &str = "agg/default/load/c4";
const C4R2: &str = "agg/default/load/c4/r2";

#[test]
fn an_attempt_is_whole_from_its_manifest_on_wherever_it_lies() {
    let fixture = Fixture::new();
    let part = fixture.part(C4, 1);
    assert_eq!(fixture.find(C4, 1, "agg/c4"), None);
    write_manifest(&part, &id(C4, 1), &StepOutcome::ok(json!(1))).unwrap();
    assert_eq!(fixture.find(C4, 1, "agg/c4"), Some(part.clone()));
    let whole = fixture.layout.whole(&address(C4), 1);
    fs::rename(&part, &whole).unwrap();
    assert_eq!(fixture.find(C4, 1, "agg/c4"), Some(whole.clone()));
    publish(&fixture.layout, &address(C4), &whole, Path::new("agg/c4")).unwrap();
    let published = fixture.layout.root().join("agg/c4");
    assert_eq!(fixture.find(C4, 1, "agg/c4"), Some(published.clone()));
    publish(&fixture.layout, &address(C4), &published, Path::new("agg/c4")).unwrap();
    assert_eq!(fixture.published("agg/c4"), Some((C4.to_owned(), 1)));
}

#[test]
fn a_missing_longer_or_changed_file_makes_an_attempt_incomplete() {
    for damage in ["remove", "lengthen", "change"] {
        let fixture = Fixture::new();
        let whole = fixture.seal(C4, 1);
        let file = whole.join("deep/records.bin");
        match damage {
            "remove" => fs::remove_file(&file).unwrap(),
            "lengthen" => fs::write(&file, [1; 1001]).unwrap(),
            _ => fs::write(&file, [2; 1000]).unwrap(),
        }
        assert_eq!(faults(&whole).len(), 1, "{damage}");
        assert!(faults(&whole)[0].contains("deep/records.bin"));
        assert_eq!(fixture.find(C4, 1, "agg/c4"), None, "{damage}");
    }
}

#[test]
fn a_newer_attempt_supersedes_the_published_one_and_repeats_stay() {
    let fixture = Fixture::new();
    publish(&fixture.layout, &address(C4R2), &fixture.seal(C4R2, 1), Path::new("agg/c4/r2")).unwrap();
    publish(&fixture.layout, &address(C4), &fixture.seal(C4, 1), Path::new("agg/c4")).unwrap();
    publish(&fixture.layout, &address(C4), &fixture.seal(C4, 2), Path::new("agg/c4")).unwrap();
    assert_eq!(fixture.published("agg/c4"), Some((C4.to_owned(), 2)));
    assert_eq!(fixture.published("agg/c4/r2"), Some((C4R2.to_owned(), 1)));
    assert!(faults(&fixture.layout.superseded(&address(C4), 1)).is_empty());
    assert!(!fixture.layout.superseded(&address(C4), 1).join("r2").exists());
}

#[test]
fn repeats_that_a_crash_left_on_the_way_go_back() {
    let fixture = Fixture::new();
    publish(&fixture.layout, &address(C4R2), &fixture.seal(C4R2, 1), Path::new("agg/c4/r2")).unwrap();
    let places = || [(address(C4), PathBuf::from("agg/c4")), (address(C4R2), PathBuf::from("agg/c4/r2"))];
    let put_back = || {
        let places = places();
        put_repeats_back(&fixture.layout, places.iter().map(|(address, place)| (address, place.clone()))).unwrap();
    };
    // Cut between taking the repeat along and renaming the folder, with and without the emptied folder.
    let whole = fixture.seal(C4, 1);
    let place = fixture.layout.root().join("agg/c4");
    fs::rename(place.join("r2"), whole.join("r2")).unwrap();
    put_back();
    assert_eq!(fixture.published("agg/c4/r2"), Some((C4R2.to_owned(), 1)));
    fs::rename(place.join("r2"), whole.join("r2")).unwrap();
    fs::remove_dir(&place).unwrap();
    put_back();
    assert_eq!(fixture.published("agg/c4/r2"), Some((C4R2.to_owned(), 1)));
    publish(&fixture.layout, &address(C4), &whole, Path::new("agg/c4")).unwrap();
    assert_eq!(fixture.published("agg/c4/r2"), Some((C4R2.to_owned(), 1)));
    // Cut in the middle of giving way.
    let aside = fixture.layout.superseded(&address(C4), 1);
    create_dir(aside.parent().unwrap()).unwrap();
    fs::rename(&place, &aside).unwrap();
    put_back();
    assert_eq!(fixture.published("agg/c4/r2"), Some((C4R2.to_owned(), 1)));
    assert_eq!(fixture.published("agg/c4"), None);
}

#[test]
fn a_step_without_files_leaves_no_folder() {
    let fixture = Fixture::new();
    let step = address("agg/wait");
    prepare(&fixture.layout, &step, 1).unwrap();
    let sealed = seal(&fixture.layout, &id("agg/wait", 1), &StepOutcome::ok(json!(null)), false).unwrap();
    assert_eq!(sealed, None);
    assert!(list_dir(&fixture.layout.attempts(&step)).unwrap().is_empty());
}

#[test]
fn a_stray_folder_of_the_same_number_is_kept_aside() {
    let fixture = Fixture::new();
    let whole = fixture.seal(C4, 1);
    let part = prepare(&fixture.layout, &address(C4), 1).unwrap();
    assert!(list_dir(&part).unwrap().is_empty() && !whole.exists());
    assert!(faults(&fixture.layout.superseded(&address(C4), 1)).is_empty());
}

#[test]
fn what_is_left_of_a_damaged_result_never_mixes_with_a_new_one() {
    let fixture = Fixture::new();
    publish(&fixture.layout, &address(C4R2), &fixture.seal(C4R2, 1), Path::new("agg/c4/r2")).unwrap();
    publish(&fixture.layout, &address(C4), &fixture.seal(C4, 1), Path::new("agg/c4")).unwrap();
    let place = fixture.layout.root().join("agg/c4");
    fs::remove_file(place.join(MANIFEST)).unwrap();
    publish(&fixture.layout, &address(C4), &fixture.seal(C4, 2), Path::new("agg/c4")).unwrap();
    assert_eq!(fs::read_to_string(place.join("results.json")).unwrap(), format!("{C4} 2"));
    assert_eq!(fixture.published("agg/c4"), Some((C4.to_owned(), 2)));
    assert_eq!(fixture.published("agg/c4/r2"), Some((C4R2.to_owned(), 1)));
}
