//! The search for the highest load that keeps the objectives: doubling until one does not, then halving what is left.
//!
//! The next load is a function of the outcomes so far and of nothing else, so that a resumed run takes the same way.

use serde::{Deserialize, Serialize};

use super::shapes::{Search, SearchOver};
use crate::measure::{Level, Rate};

/// What a measured load says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadOutcome {
    /// It keeps all objectives.
    Kept,
    /// It misses one, or the server does not keep up with it.
    Missed,
    /// It cannot be told.
    Untold,
}

/// How far a search is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Walk {
    /// The loads of its way, the one to be measured next included.
    pub path: Vec<Level>,
    /// The highest load that keeps the objectives.
    pub kept: Option<Level>,
    /// The lowest that does not.
    pub missed: Option<Level>,
    /// How it stands.
    pub state: WalkState,
}

/// How a search stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WalkState {
    /// The last load of the path is to be measured.
    Open,
    /// The two loads are as near to each other as was asked.
    Found,
    /// Even the highest load keeps the objectives.
    AllKept,
    /// Not even the lowest does.
    NoneKept,
    /// `max-points` loads were measured.
    Spent,
    /// The last load of the path tells nothing.
    Stuck,
}

impl WalkState {
    /// In words, for the summary.
    pub fn words(self) -> &'static str {
        match self {
            Self::Open => "not finished",
            Self::Found => "found",
            Self::AllKept => "the highest load of the search keeps them too",
            Self::NoneKept => "the lowest load of the search misses them already",
            Self::Spent => "max-points reached before the resolution",
            Self::Stuck => "a load on the way has no result to judge",
        }
    }
}

impl Search {
    /// The first load.
    pub(super) fn first(&self) -> Option<Level> {
        self.level(self.from)
    }

    /// The way that follows from these outcomes; `None` is a load that was not measured yet.
    pub fn walk(&self, outcome: impl Fn(Level) -> Option<LoadOutcome>) -> Walk {
        let mut walk = Walk { path: Vec::new(), kept: None, missed: None, state: WalkState::Open };
        let mut next = self.first();
        while let Some(level) = next {
            if walk.path.len() >= self.max_points as usize {
                walk.state = WalkState::Spent;
                return walk;
            }
            walk.path.push(level);
            match outcome(level) {
                None => return walk,
                Some(LoadOutcome::Untold) => {
                    walk.state = WalkState::Stuck;
                    return walk;
                }
                Some(LoadOutcome::Kept) => walk.kept = Some(level),
                Some(LoadOutcome::Missed) => walk.missed = Some(level),
            }
            next = match (walk.kept, walk.missed) {
                (None, _) => {
                    walk.state = WalkState::NoneKept;
                    None
                }
                (Some(kept), None) if kept.value() >= self.to => {
                    walk.state = WalkState::AllKept;
                    None
                }
                (Some(kept), None) => self.level((2.0 * kept.value()).min(self.to)),
                (Some(kept), Some(missed)) => {
                    walk.state = WalkState::Found;
                    self.between(kept, missed).inspect(|_| walk.state = WalkState::Open)
                }
            };
        }
        walk
    }

    /// The load in the middle of two, unless they are near enough to each other.
    fn between(&self, kept: Level, missed: Level) -> Option<Level> {
        let (low, high) = (kept.value(), missed.value());
        if high / low - 1.0 <= self.resolution {
            return None;
        }
        self.level(f64::midpoint(low, high)).filter(|level| *level != kept && *level != missed)
    }

    fn level(&self, value: f64) -> Option<Level> {
        match self.over {
            SearchOver::Concurrency => Some(Level::Concurrency(value.floor() as u32)),
            SearchOver::RequestRate => {
                // Four digits: more than any resolution asks for, and a name that can be read.
                let digits = 10_f64.powf(3.0 - value.log10().floor());
                Rate::new((value * digits).round() / digits).map(Level::Rate)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(over: SearchOver) -> Search {
        Search { over, from: 1.0, to: 1024.0, resolution: 0.05, max_points: 30, least: 0 }
    }

    /// The whole way where every load up to `limit` keeps the objectives.
    fn walked(search: &Search, limit: f64) -> Walk {
        let judge = |level: Level| if level.value() <= limit { LoadOutcome::Kept } else { LoadOutcome::Missed };
        search.walk(|level| Some(judge(level)))
    }

    #[test]
    fn the_answer_is_the_limit_within_the_resolution_whatever_it_is() {
        for over in [SearchOver::Concurrency, SearchOver::RequestRate] {
            for limit in 1..1024_u32 {
                let limit = f64::from(limit);
                let walk = walked(&search(over), limit);
                assert_eq!(walk.state, WalkState::Found, "{walk:?}");
                let (kept, missed) = (walk.kept.unwrap().value(), walk.missed.unwrap().value());
                assert!(kept <= limit && limit < missed, "{walk:?}");
                assert!(missed / kept <= 1.05 + 1e-9 || missed - kept <= 1.0, "{walk:?}");
                assert!(walk.path.len() <= 20, "{walk:?}");
            }
        }
    }

    #[test]
    fn a_search_ends_where_nothing_more_can_be_learnt() {
        let one = search(SearchOver::Concurrency);
        assert_eq!(walked(&one, 0.0).state, WalkState::NoneKept);
        let all = walked(&one, 1e9);
        assert_eq!((all.state, all.kept, all.path.len()), (WalkState::AllKept, Some(Level::Concurrency(1024)), 11));
        assert_eq!(walked(&Search { max_points: 5, ..one.clone() }, 700.0).state, WalkState::Spent);
        let stuck = one.walk(|level| Some(if level.value() < 8.0 { LoadOutcome::Kept } else { LoadOutcome::Untold }));
        assert_eq!((stuck.state, stuck.kept), (WalkState::Stuck, Some(Level::Concurrency(4))));
    }

    #[test]
    fn every_beginning_of_a_way_leads_to_the_same_next_load() {
        let search = search(SearchOver::RequestRate);
        let whole = walked(&search, 300.0).path;
        for known in 0..whole.len() {
            let walk = search.walk(|level| {
                let place = whole.iter().position(|other| *other == level).filter(|place| *place < known)?;
                Some(if whole[place].value() <= 300.0 { LoadOutcome::Kept } else { LoadOutcome::Missed })
            });
            assert_eq!((walk.state, &walk.path[..]), (WalkState::Open, &whole[..=known]));
        }
    }
}
