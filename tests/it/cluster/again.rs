//! What a resume makes of a deployment that outlived dynbench: used again if nobody touched it, deployed anew if anything
//! about it is another, and every point says which incarnation it was measured on.

use super::midst::Midst;

/// dynbench was killed in the midst of the second level; the first one is good.
fn killed(namespace: &str) -> Midst {
    let midst = Midst::new(namespace, "", "");
    midst.measuring("c2").kill();
    midst
}

const USED: &str = "it is there since an earlier session, and unchanged: it is used again";

#[test]
#[ignore = "needs a cluster"]
fn an_alive_and_unchanged_deployment_is_used_again_and_is_the_same_incarnation() {
    let midst = killed("again-alive");
    let before = midst.pods();
    midst.resumes(0);
    let notes = midst.notes();
    for words in [USED, "it is the same incarnation as before", "this incarnation is warm from an earlier session"] {
        assert!(notes.contains(words), "{notes}");
    }
    let (first, second) = (midst.point("c1"), midst.point("c2"));
    assert_eq!((&first.0, first.1, second.1), (&second.0, 1, 2));
    let journal = midst.journal();
    let recorded = journal.iter().filter(|event| event["event"] == "incarnation.recorded");
    for recorded in recorded {
        let pods = recorded["incarnation"].as_array().unwrap();
        let pods: std::collections::BTreeSet<_> =
            pods.iter().map(|pod| pod["uid"].as_str().unwrap().to_owned()).collect();
        assert_eq!(pods, before);
    }
    midst.assert_nothing_is_left();
}

#[test]
#[ignore = "needs a cluster"]
fn a_deployment_that_somebody_changed_is_ended_and_deployed_anew() {
    let midst = killed("again-changed");
    let before = midst.pods();
    let deployments = midst.room.kubectl(&["get", "deployments", "-o", "name"]);
    let worker = deployments.lines().find(|name| !name.contains("frontend")).unwrap();
    midst.room.kubectl(&["set", "env", worker, "CHANGED=1"]);
    let resumed = midst.resumes(0);
    assert!(midst.notes().contains("left behind by an earlier session: Deployment "), "{}", midst.notes());
    assert!(midst.notes().contains(" was changed"), "{}", midst.notes());
    assert!(resumed.stderr.contains("1 points of agg were measured on another incarnation"), "{}", resumed.stderr);
    assert_ne!(midst.point("c1").0, midst.point("c2").0);
    let journal = midst.journal();
    let last =
        journal.iter().rfind(|event| event["event"] == "incarnation.recorded").unwrap()["incarnation"].to_string();
    assert!(before.iter().all(|uid| !last.contains(uid)), "{last}");
    midst.assert_nothing_is_left();
}

#[test]
#[ignore = "needs a cluster"]
fn a_deployment_that_vanished_is_deployed_anew() {
    let midst = killed("again-gone");
    midst.room.kubectl(&["delete", "deployments,services", "--all", "--wait=true"]);
    midst.resumes(0);
    assert!(midst.notes().contains(" is gone"), "{}", midst.notes());
    assert_ne!(midst.point("c1").0, midst.point("c2").0);
    assert_eq!(midst.count("agg/default/warm-up"), 2);
    midst.assert_nothing_is_left();
}

#[test]
#[ignore = "needs a cluster"]
fn a_deployment_whose_pod_was_replaced_is_used_again_as_another_incarnation_and_warmed_up() {
    let midst = killed("again-pod");
    midst.room.kubectl(&["delete", "pod", &midst.worker().0, "--wait=true"]);
    midst.resumes(0);
    for words in [USED, "it is another incarnation than before", "1 points of agg were measured on another incarnation"]
    {
        assert!(midst.notes().contains(words), "{}", midst.notes());
    }
    assert_ne!(midst.point("c1").0, midst.point("c2").0);
    assert_eq!((midst.point("c1").1, midst.count("agg/default/warm-up")), (1, 2));
    midst.assert_nothing_is_left();
}

#[test]
#[ignore = "needs a cluster"]
fn with_same_per_sweep_points_of_the_earlier_incarnation_are_measured_again() {
    let midst = Midst::new("again-sweep", "", "policy.incarnation = \"same-per-sweep\"");
    midst.measuring("c2").kill();
    midst.room.kubectl(&["delete", "pod", &midst.worker().0, "--wait=true"]);
    midst.resumes(0);
    assert_eq!(midst.point("c1"), (midst.point("c2").0, 2));
    midst.assert_nothing_is_left();
}

#[test]
#[ignore = "needs a cluster"]
fn what_was_kept_serves_the_levels_that_are_added_later() {
    let midst = Midst::new("again-kept", "", "");
    midst.room.world.ends(0, &["apply", "plan.toml", "--keep"]);
    let kept = midst.pods();
    assert!(!kept.is_empty());
    midst.room.world.edit("concurrency = [1, 2]", "concurrency = [1, 2, 3]");
    midst.resumes(0);
    assert!(midst.notes().contains(USED), "{}", midst.notes());
    assert_eq!(midst.point("c1").0, midst.point("c3").0);
    midst.assert_nothing_is_left();
}
