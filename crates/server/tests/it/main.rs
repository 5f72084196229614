//! A real server with agents that are played by the tests, over the real link: TCP on loopback, mutual TLS.

mod access;
mod access_starts;
mod agent;
mod attacks;
mod audit;
mod cluster;
mod crowd;
mod enrolment;
mod events;
mod fixture;
mod guards;
mod halt;
mod health;
mod keeper;
mod link;
mod restart;
mod schedules;
mod start;
mod templates;
mod workload;
