//! What is kept, what goes, and what producers are told at MAXDEPTH.

mod any;
mod copies;
mod depth;
mod finished;
mod idle;
mod lag;
mod resize;
mod types;
