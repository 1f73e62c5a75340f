//! The rules against what the real operator and the real kubelet did, and against made-up looks where nothing was recorded.

mod made;
mod recording;
mod timelines;
