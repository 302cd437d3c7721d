//! An agent that does the tasks it is given: `LIFECYCLE_REDIS__URL=redis://… cargo run --example worker`.

use agent_sdk::{Agent, AgentSettings, AgentState, Work};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("LIFECYCLE_REDIS__URL").unwrap_or("redis://127.0.0.1:6379".into());
    let agent = Agent::register(AgentSettings::new("worker-1")?.redis_url(url)).await?;

    // Goes when the agent goes, even if it is killed.
    agent.own_key("cache:worker-1").await?;

    // However this ends, by a panic too, the agent is shut down: tasks handed back, every key removed.
    agent
        .live(async || {
            // Ends on SIGTERM, SIGINT, SIGHUP, an order to drain or stop, or when this life is over.
            while let Some(task) = agent.next_task().await {
                let attempt = agent.run_task(task, async |task| {
                    agent.progress(format!("working on {}", task.task));
                    agent.set_state(AgentState::Waiting); // a long model call is a state, not silence
                    Work::Completed(format!("did {:?}", task.input))
                });
                eprintln!("{:?}", attempt.await?);
            }
            Ok(())
        })
        .await?
}
