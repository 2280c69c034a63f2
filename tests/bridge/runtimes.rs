//! Calls are plain futures: any executor drives them, and host futures of tokio's work where there is one.

use crate::stage::{Stage, chunk};

#[test]
fn any_executor_will_do() {
    let stage = Stage::new();
    let engine = stage.engine();
    let mut pool = futures_executor::LocalPool::new();
    let calls = (0..20).map(|_| {
        engine.eval::<i64>(&chunk(script!(
        lua: "t.nap(20) return 1",
        php: r"t\nap(20); return 1;",
        )))
    });
    let all = futures_util::future::join_all(calls);
    let sum: i64 = pool.run_until(all).into_iter().map(|result| result.expect("a value")).sum();
    assert_eq!(sum, 20);
}

#[cfg(feature = "tokio")]
#[test]
fn host_functions_use_tokio() {
    use std::time::{Duration, Instant};

    use sidestack::{Engine, Module};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    async fn run(engine: &Engine) {
        let begun = Instant::now();
        let naps = (0..50).map(|_| {
            engine.eval::<()>(script!(
            lua: "require('u').sleep(200)",
            php: r"u\sleep(200)",
            ))
        });
        for result in futures_util::future::join_all(naps).await {
            result.expect("a nap");
        }
        let took = begun.elapsed();
        // One after the other it would be 10 s.
        assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(9), "{took:?}");
        let echoes = (0..10).map(|i| {
            engine.eval::<String>(&script!(lua: format!("return require('u').echo_('hello {i}')"), php: format!("return u\\echo_('hello {i}');")))
        });
        for (i, result) in futures_util::future::join_all(echoes).await.into_iter().enumerate() {
            assert_eq!(result.expect("an echo"), format!("hello {i}"));
        }
        // One that is cancelled by its deadline leaves nothing behind.
        let error = engine
            .eval::<()>(script!(
            lua: "require('u').sleep(60000)",
            php: r"u\sleep(60000)",
            ))
            .deadline(Duration::from_millis(50))
            .await;
        assert_eq!(error.expect_err("a deadline").code(), Some("deadline"));
    }

    let module = |address: std::net::SocketAddr| {
        Module::new("u")
            .function("sleep", async |ms: u64| {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(())
            })
            .function("echo_", async move |text: String| {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(text.as_bytes()).await?;
                stream.shutdown().await?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await?;
                Ok(answer)
            })
    };
    for runtime in [
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build(),
        tokio::runtime::Builder::new_current_thread().enable_all().build(),
    ] {
        runtime.expect("a runtime").block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let (mut read, mut write) = stream.split();
                        let _ = tokio::io::copy(&mut read, &mut write).await;
                    });
                }
            });
            let engine = Stage::new().builder().module(module(address)).build().expect("an engine");
            run(&engine).await;
            assert_eq!(engine.shutdown(Duration::from_secs(5)).await.stuck, 0);
        });
    }
}
