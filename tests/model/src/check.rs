//! The model as the checker wants it, and a run of it.

use crate::action::Action;
use crate::config::Config;
use crate::heal;
use crate::spec::Violation;
use crate::state::State;
use crate::symmetry;
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::fmt;
use std::time::{Duration, Instant};

const ALWAYS: &str = "what is shown fits what is covered";
const HEALS: &str = "heals to the specification";

/// A model.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// Its bounds.
    pub config: Config,
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(&self.config)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.actions(&self.config, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let next = state.after(&self.config, action)?;
        Some(if self.config.symmetry { symmetry::representative(&self.config, &next) } else { next })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let always = |model: &Self, state: &State| state.check_always(&model.config).is_ok();
        let heals = |model: &Self, state: &State| heal::check(&model.config, state).is_ok();
        vec![Property::always(ALWAYS, always), Property::always(HEALS, heals)]
    }
}

/// A way to a state that breaks a property.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// What is wrong.
    pub violation: Violation,
    /// The steps to it.
    pub actions: Vec<Action>,
    /// Where they lead.
    pub state: State,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, action) in self.actions.iter().enumerate() {
            writeln!(f, "{:4}. {action:?}", at + 1)?;
        }
        write!(f, "      {}", self.violation)
    }
}

/// What a run found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// States come to, those that were known among them.
    pub states: usize,
    /// Different ones.
    pub unique: usize,
    /// Steps to the farthest one.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// The first violation; without one, every state was seen (or the limit reached).
    pub counterexample: Option<Counterexample>,
    /// Every state within the bounds was seen.
    pub complete: bool,
}

/// How a run searches.
#[derive(Copy, Clone, Debug)]
pub struct Search {
    /// Threads.
    pub threads: usize,
    /// Breadth first finds the shortest counterexamples; depth first needs less memory.
    pub breadth_first: bool,
    /// Gives up after so many states; 0 never.
    pub most_states: usize,
}

impl Default for Search {
    fn default() -> Self {
        Self { threads: 1, breadth_first: false, most_states: 0 }
    }
}

/// Explores every state within the bounds, until one breaks a property.
pub fn run(config: Config, search: Search) -> Outcome {
    let builder = Protocol { config }.checker().threads(search.threads);
    let builder = builder.finish_when(HasDiscoveries::AnyFailures).target_state_count(search.most_states);
    let began = Instant::now();
    if search.breadth_first {
        outcome(&config, &builder.spawn_bfs().join(), began, search)
    } else {
        outcome(&config, &builder.spawn_dfs().join(), began, search)
    }
}

fn outcome(config: &Config, checker: &impl Checker<Protocol>, began: Instant, search: Search) -> Outcome {
    let mut found: Vec<_> = checker.discoveries().into_iter().collect();
    found.sort_by_key(|(name, _)| *name);
    let counterexample = found.into_iter().next().and_then(|(_, path)| {
        let state = *path.last_state();
        let violation = state.check_always(config).and_then(|()| heal::check(config, &state)).err()?;
        Some(Counterexample { violation, actions: path.into_actions(), state })
    });
    let limited = search.most_states != 0 && checker.state_count() >= search.most_states;
    Outcome {
        states: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        took: began.elapsed(),
        complete: counterexample.is_none() && !limited,
        counterexample,
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(counterexample) = &self.counterexample {
            writeln!(f, "{counterexample}")?;
        }
        write!(
            f,
            "states={} unique={} depth={} seconds={:.1}{}",
            self.states,
            self.unique,
            self.depth,
            self.took.as_secs_f64(),
            if self.complete || self.counterexample.is_some() { "" } else { " (not complete)" }
        )
    }
}
