//! Each of the zoo's bugs that only an unlucky order of events can show: with it, its model must fail.

use lattice_zoo::{Bug, Checker};

/// Whether the model fails with the bug in it. That it passes without is its own test.
fn finds(bug: Bug, model: fn()) -> bool {
    lattice_zoo::arm(Some(bug));
    let failed = std::panic::catch_unwind(model).is_err();
    lattice_zoo::arm(None);
    failed
}

/// A test for each model, of all the bugs that name it; and a test that no bug names anything else.
macro_rules! found_by {
    ($($model:ident)+) => {
        $(
            #[test]
            fn $model() {
                for &bug in Bug::ALL.iter().filter(|bug| bug.checker() == Checker::Loom(stringify!($model))) {
                    assert!(finds(bug, super::$model), "{bug} survives {}", stringify!($model));
                }
            }
        )+

        #[test]
        fn every_model_that_a_bug_names_is_here() {
            for bug in Bug::ALL {
                if let Checker::Loom(model) = bug.checker() {
                    assert!([$(stringify!($model)),+].contains(&model), "{bug}: {model}");
                }
            }
        }
    };
}

found_by! {
    a_register_is_never_torn
    a_writer_may_die_anywhere
    a_reused_extent_is_noticed
    a_change_is_whole_or_an_overrun
    a_key_is_found_whole_and_its_value_is_not_older_than_its_version
    an_appended_element_is_whole
    submissions_arrive_once_and_whole
    applied_means_visible_or_failed
    no_submission_sleeps_in
    nobody_is_inside_beside_the_owner
}
