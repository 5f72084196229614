//! A real server with agents that are played by the tests, over the real link: TCP on loopback, mutual TLS.

mod access;
mod access_starts;
mod agent;
mod api;
mod attacks;
mod audit;
mod cluster;
mod crowd;
mod enrolment;
mod events;
mod evidence;
mod fixture;
mod guards;
mod halt;
mod health;
mod keeper;
mod link;
mod messages;
mod probes;
mod receiver;
mod restart;
mod schedules;
mod start;
mod templates;
mod traces;
mod workload;
