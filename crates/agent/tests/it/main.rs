//! The agent against a link server made for these tests: enrolment, sessions, instructions, gateway, workloads.

mod agent;
mod allowed;
mod attacks;
mod child;
mod database;
mod enrolment;
mod gateway;
mod instructions;
mod link_server;
mod probes;
mod renewal;
mod session;
mod watchdog;
mod workload;
