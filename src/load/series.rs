//! The server's own view as a time series: its pages of `/metrics`, asked again and again while a level runs.
//!
//! Nothing here touches the generator: it runs on the runtime of whoever calls it, not on the threads of the slots, with
//! connections of its own, a limit for every answer, and no more than one question to a page at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoint;
use super::exposition::{Line, lines};
use crate::base::{Clock, SystemClock, Timestamp};
use crate::measure::{Gpu, SERVER_SERIES, SeriesKind, ServerScrape, ServerSeries, ServerValue};

/// Longest wait for one page.
const LIMIT: Duration = Duration::from_secs(5);
/// After so many rounds without any answer a page is given up.
const GIVEN_UP_AFTER: u32 = 5;
/// Most numbers of one page: a deployment of hundreds of GPUs has them.
const MOST_VALUES: usize = 4096;

/// A page to be asked.
#[derive(Debug, Clone)]
pub struct SeriesSource {
    /// Where it is.
    pub endpoint: Endpoint,
    /// The part of the deployment that it is of; `None`: what the page itself says.
    pub role: Option<String>,
    /// Of a page that tells of all GPUs of a node: the server's pods as `namespace/name`, with what each is a part of.
    pub gpus_of: BTreeMap<String, Option<String>>,
}

/// All that was heard.
#[derive(Debug, Default)]
pub struct SeriesLog {
    heard: Vec<(Timestamp, ServerScrape)>,
    /// Base URLs that never answered with a number of the table.
    pub silent: Vec<String>,
}

impl SeriesLog {
    /// The scrapes with their times on a point's clock: seconds since `origin`.
    pub fn since(self, origin: Timestamp) -> Vec<ServerScrape> {
        let seconds = |at: Timestamp| (i128::from(at.0) - i128::from(origin.0)) as f64 / 1e9;
        self.heard.into_iter().map(|(at, scrape)| ServerScrape { t_s: seconds(at), ..scrape }).collect()
    }
}

/// Asks all pages every `interval` until cancelled. Cancelling ends it at once; what was heard until then is returned.
pub async fn watch_series(sources: &[SeriesSource], interval: Duration, cancel: &CancellationToken) -> SeriesLog {
    let clock = SystemClock::default();
    let began = clock.now();
    let mut pages: Vec<Page> =
        sources.iter().map(|source| Page { source: Arc::new(source.clone()), misses: 0, heard: false }).collect();
    let mut log = SeriesLog::default();
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0.. {
        let gathered = async {
            ticks.tick().await;
            ask(&pages, round).await
        };
        let answers = tokio::select! {
            answers = gathered => answers,
            () = cancel.cancelled() => break,
        };
        let at = Timestamp(began.0 + u64::try_from(clock.elapsed().as_nanos()).unwrap_or(u64::MAX));
        for (place, scrape) in answers {
            match scrape {
                Some(scrape) => {
                    pages[place].heard = true;
                    log.heard.push((at, scrape));
                }
                None => pages[place].misses += 1,
            }
        }
        if pages.iter().all(Page::is_given_up) {
            break;
        }
    }
    log.silent = pages.iter().filter(|page| !page.heard).map(|page| page.source.endpoint.url().to_owned()).collect();
    log
}

struct Page {
    source: Arc<SeriesSource>,
    misses: u32,
    heard: bool,
}

impl Page {
    fn is_given_up(&self) -> bool {
        !self.heard && self.misses >= GIVEN_UP_AFTER
    }
}

/// One round: every page at the same time, in the order of the pages.
async fn ask(pages: &[Page], round: u64) -> Vec<(usize, Option<ServerScrape>)> {
    let mut asked = JoinSet::new();
    for (place, page) in pages.iter().enumerate().filter(|(_, page)| !page.is_given_up()) {
        let source = Arc::clone(&page.source);
        asked.spawn(async move { (place, scrape(&source, round).await) });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by_key(|(place, _)| *place);
    answers
}

/// One page; `None` when it does not answer, or says nothing that is known.
async fn scrape(source: &SeriesSource, round: u64) -> Option<ServerScrape> {
    let answer = source.endpoint.get("/metrics", LIMIT).await.ok().filter(|answer| answer.status == 200)?;
    let mut values = parse_series(&String::from_utf8_lossy(&answer.body), source.role.as_deref());
    if !source.gpus_of.is_empty() {
        values = of_pods(values, &source.gpus_of);
    }
    (!values.is_empty()).then(|| ServerScrape { t_s: 0.0, round, url: source.endpoint.url().to_owned(), values })
}

/// The known numbers of a page, in the order of the table. `role` is that of the page; without one the page's own labels
/// tell it, and a Dynamo frontend's page is the frontend's.
pub fn parse_series(page: &str, role: Option<&str>) -> Vec<ServerValue> {
    let all: Vec<Line<'_>> = lines(page).filter(|line| line.value.is_finite()).collect();
    let frontend = all.iter().any(|line| line.name.starts_with("dynamo_frontend_"));
    let of_page = role.or(frontend.then_some("frontend"));
    let mut values: Vec<ServerValue> = Vec::new();
    for series in SERVER_SERIES {
        let Some(name) = series.names.iter().find(|name| all.iter().any(|line| line.name == **name)) else { continue };
        let start = values.len();
        let mut counts: Vec<u32> = Vec::new();
        for line in all.iter().filter(|line| line.name == *name) {
            let value = of_line(series, line, of_page);
            match values[start..].iter().position(|other| other.role == value.role && other.gpu == value.gpu) {
                Some(place) => {
                    values[start + place].value += value.value;
                    counts[place] += 1;
                }
                None if values.len() < MOST_VALUES => {
                    values.push(value);
                    counts.push(1);
                }
                None => {}
            }
        }
        match series.kind {
            SeriesKind::Amount | SeriesKind::Counter => {}
            SeriesKind::Share | SeriesKind::OfGpu => {
                values[start..].iter_mut().zip(&counts).for_each(|(value, count)| value.value /= f64::from(*count));
            }
        }
    }
    values
}

/// Of a node's GPUs those that these pods hold, each as a GPU of what its pod is a part of. Where the page does not tell at all
/// who holds a GPU nobody can tell them apart: then all are kept, of no part.
fn of_pods(mut values: Vec<ServerValue>, pods: &BTreeMap<String, Option<String>>) -> Vec<ServerValue> {
    values.retain(|value| value.gpu.is_some());
    let holder = |value: &ServerValue| value.gpu.as_ref().and_then(|gpu| gpu.pod.clone());
    if values.iter().all(|value| holder(value).is_none()) {
        return values;
    }
    let part = |value: &ServerValue| {
        let namespace = value.gpu.as_ref()?.namespace.clone().unwrap_or_default();
        pods.get(&format!("{namespace}/{}", holder(value)?)).cloned()
    };
    values.into_iter().filter_map(|value| Some(ServerValue { role: part(&value)?, ..value })).collect()
}

fn of_line(series: &ServerSeries, line: &Line<'_>, role: Option<&str>) -> ServerValue {
    let gpu = match series.kind {
        SeriesKind::OfGpu => Some(Gpu {
            // A slice of a GPU (MIG) is one of its own.
            number: match (line.label("gpu").unwrap_or_default(), line.label("GPU_I_ID")) {
                (gpu, Some(slice)) => format!("{gpu}/{slice}"),
                (gpu, None) => gpu,
            },
            node: line.label("Hostname"),
            model: line.label("modelName"),
            pod: line.label("pod").or_else(|| line.label("exported_pod")),
            namespace: line.label("namespace").or_else(|| line.label("exported_namespace")),
        }),
        SeriesKind::Amount | SeriesKind::Share | SeriesKind::Counter => None,
    };
    let role = role.map(str::to_owned).or_else(|| line.label("role"));
    ServerValue { series: series.id.to_owned(), value: line.value, role, gpu }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::endpoint::EndpointSpec;
    use super::*;

    fn of(page: &str) -> Vec<(String, f64, Option<String>)> {
        parse_series(page, None).into_iter().map(|value| (value.series, value.value, value.role)).collect()
    }

    fn found(page: &str, series: &str) -> Option<f64> {
        of(page).into_iter().find(|(id, _, _)| id == series).map(|(_, value, _)| value)
    }

    #[test]
    fn pages_of_real_servers_are_understood() {
        let vllm = include_str!("../../tests/fixtures/metrics/vllm-cpu-tiny.prom.txt");
        assert_eq!(found(vllm, "requests-ended"), Some(18.0));
        assert_eq!(found(vllm, "prompt-tokens"), Some(543.0));
        let llama = include_str!("../../tests/fixtures/metrics/llama-server-tiny.prom.txt");
        assert_eq!(found(llama, "requests-waiting"), Some(0.0));
        assert_eq!(found(llama, "prefix-cache-hits"), Some(14_952.0));
        let dynamo = include_str!("../../tests/fixtures/metrics/dynamo-agg-kv.prom.txt");
        assert_eq!(found(dynamo, "output-tokens"), Some(110.0));
        assert!(of(dynamo).iter().all(|(_, _, role)| role.as_deref() == Some("frontend")));
    }

    #[test]
    fn of_two_layers_on_one_page_the_engine_counts() {
        let page = "dynamo_component_inflight_requests{a=\"b\"} 9\nvllm:num_requests_running{engine=\"0\"} 2\n\
                    vllm:num_requests_running{engine=\"1\"} 3\nvllm:gpu_cache_usage_perc 0.5\n\
                    vllm:kv_cache_usage_perc{engine=\"0\"} 0.2\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.4\n";
        assert_eq!(found(page, "requests-running"), Some(5.0));
        assert!((found(page, "kv-usage").unwrap() - 0.3).abs() < 1e-12);
    }

    #[test]
    fn roles_on_the_page_are_kept_apart_unless_the_source_says_its_own() {
        let page = "simulated_requests_running{role=\"prefill\",worker=\"0\"} 1\n\
                    simulated_requests_running{role=\"decode\",worker=\"1\"} 2\n\
                    simulated_requests_running{role=\"decode\",worker=\"2\"} 3\n";
        let roles: Vec<_> = of(page).into_iter().map(|(_, value, role)| (value, role.unwrap())).collect();
        assert_eq!(roles, [(1.0, "prefill".to_owned()), (5.0, "decode".to_owned())]);
        assert_eq!(parse_series(page, Some("all"))[0].value, 6.0);
    }

    #[test]
    fn gpus_of_the_dcgm_exporter_are_told_by_node_number_and_pod() {
        let labels = |gpu: &str, pod: &str| {
            format!(
                "gpu=\"{gpu}\",UUID=\"GPU-{gpu}\",device=\"nvidia{gpu}\",modelName=\"NVIDIA H100 80GB HBM3\",\
                 Hostname=\"node-a\",container=\"main\",namespace=\"bench\",pod=\"{pod}\""
            )
        };
        let (one, two) = (labels("0", "agg-decode-7"), labels("1", ""));
        let page = format!(
            "# TYPE DCGM_FI_DEV_GPU_UTIL gauge\nDCGM_FI_DEV_GPU_UTIL{{{one}}} 97\nDCGM_FI_DEV_GPU_UTIL{{{two}}} 0\n\
             DCGM_FI_DEV_FB_USED{{{one}}} 71234\nDCGM_FI_DEV_POWER_USAGE{{{one}}} 612.4\nDCGM_FI_DEV_SM_CLOCK{{{one}}} 1980\n"
        );
        let values = parse_series(&page, Some("decode"));
        let told: Vec<_> = values.iter().map(|value| (value.series.as_str(), value.value)).collect();
        assert_eq!(
            told,
            [("gpu-utilisation", 97.0), ("gpu-utilisation", 0.0), ("gpu-memory-used", 71_234.0), ("gpu-power", 612.4)]
        );
        let gpu = values[0].gpu.as_ref().unwrap();
        assert_eq!(
            (gpu.number.as_str(), gpu.node.as_deref(), gpu.pod.as_deref()),
            ("0", Some("node-a"), Some("agg-decode-7"))
        );
        assert_eq!(values[1].gpu.as_ref().unwrap().pod, None);
    }

    /// Two pods of ours, one of somebody else, one GPU idle: as the exporter of a node says it.
    fn node_page(with_pods: bool) -> String {
        let mut page =
            String::from("# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).\n# TYPE DCGM_FI_DEV_GPU_UTIL gauge\n");
        for (gpu, (namespace, pod)) in
            [("bench", "agg-prefill-0"), ("bench", "agg-decode-0"), ("other", "agg-decode-0"), ("", "")]
                .iter()
                .enumerate()
        {
            let holder = if with_pods {
                format!(",container=\"main\",namespace=\"{namespace}\",pod=\"{pod}\"")
            } else {
                String::new()
            };
            page.push_str(&format!(
                "DCGM_FI_DEV_GPU_UTIL{{gpu=\"{gpu}\",UUID=\"GPU-5{gpu}\",pci_bus_id=\"00000000:0{gpu}:00.0\",device=\"nvidia{gpu}\",\
                 modelName=\"NVIDIA H100 80GB HBM3\",Hostname=\"node-1\",DCGM_FI_DRIVER_VERSION=\"550.54\"{holder}}} {gpu}0\n"
            ));
        }
        page
    }

    #[test]
    fn of_a_nodes_gpus_only_those_of_the_deployments_pods_are_told_each_with_its_part() {
        let pods = BTreeMap::from([
            ("bench/agg-prefill-0".to_owned(), Some("prefill".to_owned())),
            ("bench/agg-decode-0".to_owned(), Some("decode".to_owned())),
        ]);
        let told = |with_pods| -> Vec<_> {
            let values = of_pods(parse_series(&node_page(with_pods), None), &pods);
            values.into_iter().map(|value| (value.gpu.unwrap().number, value.role, value.value)).collect()
        };
        let part = |part: &str| Some(part.to_owned());
        assert_eq!(told(true), [("0".to_owned(), part("prefill"), 0.0), ("1".to_owned(), part("decode"), 10.0)]);
        // An exporter that does not know pods: nobody can tell whose GPUs they are.
        let all: Vec<_> = told(false).into_iter().map(|(number, part, _)| (number, part)).collect();
        assert_eq!(all, ["0", "1", "2", "3"].map(|number| (number.to_owned(), None)));
        let strangers = BTreeMap::from([("bench/else".to_owned(), None)]);
        assert!(of_pods(parse_series(&node_page(true), None), &strangers).is_empty());
    }

    #[test]
    fn slices_of_a_gpu_are_told_apart() {
        let slice =
            |id: u32| format!("DCGM_FI_DEV_FB_USED{{gpu=\"0\",GPU_I_PROFILE=\"1g.10gb\",GPU_I_ID=\"{id}\"}} {id}00\n");
        let values = parse_series(&(slice(7) + &slice(8)), None);
        let told: Vec<_> =
            values.iter().map(|value| (value.gpu.as_ref().unwrap().number.as_str(), value.value)).collect();
        assert_eq!(told, [("0/7", 700.0), ("0/8", 800.0)]);
    }

    /// A page whose number of running requests grows with each question; after some of them it ends the asking.
    async fn serve(listener: TcpListener, enough: CancellationToken) {
        for asked in 0.. {
            if asked == 4 {
                enough.cancel();
            }
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            let body = format!("vllm:num_requests_running {asked}\n");
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    }

    fn source(url: String) -> SeriesSource {
        let endpoint = Endpoint::new(&EndpointSpec { url, ..EndpointSpec::default() }).unwrap();
        SeriesSource { endpoint, role: None, gpus_of: BTreeMap::new() }
    }

    #[tokio::test]
    async fn pages_are_asked_again_and_again_until_cancelled_and_a_silent_one_is_named() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let gone = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let nobody = format!("http://{}", gone.local_addr().unwrap());
        drop(gone);
        let mut server = JoinSet::new();
        let cancel = CancellationToken::new();
        server.spawn(serve(listener, cancel.clone()));
        let sources = [source(url.clone()), source(nobody.clone())];
        let log = watch_series(&sources, Duration::from_millis(10), &cancel).await;
        assert_eq!(log.silent, [nobody]);
        let scrapes = log.since(Timestamp(0));
        let values: Vec<_> = scrapes.iter().map(|scrape| scrape.values[0].value).collect();
        assert!(values.len() > 1 && values.is_sorted(), "{values:?}");
        assert!(scrapes.windows(2).all(|pair| pair[0].t_s < pair[1].t_s && pair[0].round < pair[1].round));
        assert!(scrapes.iter().all(|scrape| scrape.url == url));
    }

    #[tokio::test]
    async fn without_any_page_it_ends_by_itself() {
        let log = watch_series(&[], Duration::from_secs(3600), &CancellationToken::new()).await;
        assert!(log.silent.is_empty() && log.since(Timestamp(0)).is_empty());
    }
}
