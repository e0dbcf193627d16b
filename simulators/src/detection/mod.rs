//! The judge of the detection of odd behaviour: fleets on a virtual clock with ground truth, reference detectors, score.
//!
//! Reading order: [`scenario`] (the file), [`flow`] (the generator), [`references`] (six known detectors), [`score`],
//! [`trial`] (all of them together), [`mod@page`] (the page of the results).

mod dice;
pub mod flow;
pub mod page;
pub mod references;
pub mod scenario;
pub mod score;
pub mod trial;
mod world;
