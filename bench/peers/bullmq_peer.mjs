// BullMQ: 100 jobs at once, jobs removed when they end. The same three commands as tally.py.
import { Queue, Worker } from "bullmq";

const [command, address, count, third] = process.argv.slice(2);
const url = new URL(address);
const connection = {
  host: url.hostname, port: Number(url.port), password: url.password, maxRetriesPerRequest: null,
};
const kept = { removeOnComplete: true, removeOnFail: true };
const nowNs = () => Number(process.hrtime.bigint());
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function enqueueing() {
  const queue = new Queue("bench", { connection, defaultJobOptions: kept });
  if (command === "fill") {
    for (let start = 0; start < Number(count); start += 500) {
      const size = Math.min(500, Number(count) - start);
      await queue.addBulk(Array.from({ length: size }, () => ({
        name: "job", data: { ms: Number(third), enqueuedNs: nowNs() },
      })));
    }
  } else {
    for (let n = 0; n < Number(count); n += 1) {
      await queue.add("job", { ms: 0, enqueuedNs: nowNs() });
      await sleep(1000 / Number(third));
    }
  }
  await queue.close();
}

function working() {
  let began = 0, ended = 0, atOnce = 0, mostAtOnce = 0, firstNs = 0, lastNs = 0, cpuAtFirst, waits = [], shown = -1;
  new Worker("bench", async (job) => {
    const now = nowNs();
    if (!began) { firstNs = now; cpuAtFirst = process.cpuUsage(); }
    waits.push(now - job.data.enqueuedNs);
    began += 1; atOnce += 1; mostAtOnce = Math.max(mostAtOnce, atOnce);
    if (job.data.ms) await sleep(job.data.ms);
    atOnce -= 1; ended += 1; lastNs = nowNs();
  }, { connection, concurrency: 100, ...kept });
  setInterval(() => {
    if (shown === began + ended || !began) return;
    shown = began + ended;
    const cpu = process.cpuUsage(cpuAtFirst);
    console.log(JSON.stringify({
      ended, most_at_once: mostAtOnce, first_ns: firstNs, last_ns: lastNs, cpu_ns: 1000 * (cpu.user + cpu.system),
      waits_ns: waits,
    }));
    waits = [];
  }, 50);
}

if (command === "work") working(); else await enqueueing();
