use super::*;
use std::collections::BTreeSet;

const SEEDS: u64 = 400;

#[test]
fn a_story_is_read_back_as_the_plan_it_was_told_from() {
    for seed in 0..SEEDS {
        let plan = Plan::of_seed(seed);
        assert_eq!(plan.to_string().parse(), Ok(plan.clone()), "{plan}");
    }
    let story = Plan::of_seed(3).to_string();
    let told = format!("# a regression\n\n{}", story.replace('\n', "\n  "));
    assert_eq!(told.parse(), Ok(Plan::of_seed(3)));
}

#[test]
fn a_seed_gives_the_same_plan_each_time_and_another_seed_another() {
    assert_eq!(Plan::of_seed(7), Plan::of_seed(7));
    let stories: BTreeSet<String> = (0..SEEDS).map(|seed| Plan::of_seed(seed).to_string()).collect();
    assert_eq!(stories.len() as u64, SEEDS);
}

#[test]
fn each_plan_changes_the_branch_and_has_events_of_nodes_that_are_there() {
    for plan in (0..SEEDS).map(Plan::of_seed) {
        assert!(plan.changes_branch(), "{plan}");
        assert!((3..=5).contains(&plan.nodes()) && (6_000..16_000).contains(&plan.duration_ms), "{plan}");
        assert_eq!(plan.upstreams.iter().filter(|upstream| upstream.is_none()).count(), 1, "{plan}");
        assert!(plan.events.is_sorted_by_key(|timed| timed.at_ms), "{plan}");
        for timed in &plan.events {
            assert!(timed.at_ms < plan.duration_ms + 20_000, "{plan}");
            let numbers: Vec<usize> = match &timed.event {
                Event::Promote { node } | Event::Restart { node } | Event::Kill { node } => vec![*node],
                Event::Clone { node, from }
                | Event::Follow { node, from }
                | Event::Rewind { node, from }
                | Event::RewindAtRest { node, from } => {
                    assert_ne!(node, from, "{plan}");
                    vec![*node, *from]
                }
                Event::Partition { from, to, .. } => {
                    assert_ne!(from, to, "{plan}");
                    vec![*from, *to]
                }
                Event::PromoteBest { among } => among.0.clone(),
                _ => vec![],
            };
            assert!(numbers.iter().all(|node| *node < plan.nodes()), "{plan}");
        }
    }
}

#[test]
fn each_kind_of_event_and_each_shape_occurs() {
    let plans: Vec<Plan> = (0..SEEDS).map(Plan::of_seed).collect();
    let word = |timed: &Timed| format!("{:?}", timed.event).split([' ', '{']).next().unwrap_or("").to_owned();
    let kinds: BTreeSet<String> = plans.iter().flat_map(|plan| plan.events.iter().map(word)).collect();
    assert_eq!(kinds.len(), 53, "{kinds:?}");
    let sizes: BTreeSet<usize> = plans.iter().map(Plan::nodes).collect();
    assert_eq!(sizes, [3, 4, 5].into());
    let cascades = |plan: &&Plan| plan.upstreams.iter().flatten().any(|upstream| *upstream > 0);
    assert!(plans.iter().filter(cascades).count() > 20);
    let both = |plan: &&Plan| {
        plan.names.is_empty()
            || plan.names == "*"
            || plan.names.starts_with("ANY")
            || plan.names.starts_with("FIRST")
    };
    assert_eq!(plans.iter().filter(both).count(), plans.len());
}
