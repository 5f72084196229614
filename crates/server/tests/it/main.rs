//! A real server with agents that are played by the tests, over the real link: TCP on loopback, mutual TLS.

mod access;
mod agent;
mod attacks;
mod audit;
mod cluster;
mod enrolment;
mod events;
mod fixture;
mod halt;
mod keeper;
mod link;
mod restart;
mod start;
mod workload;
