//! A stand-in for the Dynamo operator, against a real cluster: it answers admission, makes real Deployments and Services
//! from DynamoGraphDeployments (v1beta1), and writes their status in the steps in which the real one was seen to. Real pods
//! decide what is ready. Knobs make it behave as the real one did at its worst.
//!
//! | file | purpose |
//! | --- | --- |
//! | `running` | its life: CRDs, webhooks, the loop; started with [`Operator::start`] |
//! | `admission` | what it says to requests: two annotations, refusals with their causes |
//! | `made` | what it makes of a graph: names, labels, probes, environment |
//! | `told` | the status that it writes |
//! | `knobs` | how it misbehaves |
//!
//! It leaves out: conversion of v1alpha1, DynamoComponentDeployments (Deployments are owned by the graph itself), restarts
//! by `spec.restart`, several nodes a component.

mod admission;
mod knobs;
mod made;
mod running;
mod told;

pub(crate) use knobs::{Admission, Knobs};
pub(crate) use running::Operator;
