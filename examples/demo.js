// The demo: a primary process is killed half-way through its work, and its backup finishes the work from what the primary
// had saved on a persistent memory unit.
//
//   npm run demo                    counts the words of an installed package's sources
//   npm run demo -- FILE...         counts the words of your own files
//   npm run demo -- --json          ends with one line of JSON
//
// This file directs. Primary and backup run demo/counter.js; the work itself is in demo/word-count.js.
import { parseArgs } from 'node:util'
import { connect } from 'rdma-checkpoint'
import { bytesBefore, findInput, totalBytes } from './demo/input.js'
import { monotonicMs } from './demo/messages.js'
import { Stage } from './demo/stage.js'
import { stateCodec } from './demo/state-codec.js'
import { countAll, WordCount } from './demo/word-count.js'

const MiB = 1024 * 1024
const regionName = 'word-count'

/** @param {readonly string[]} named @param {boolean} asJson */
async function demo(named, asJson) {
  const say = (/** @type {string} */ text) => console.log(text)
  const { files, from } = findInput(named)
  const bytes = totalBytes(files)
  // A state holds each distinct word once, so it is far smaller than the text. The log keeps several states.
  const regionBytes = 64 * MiB + bytes
  say(`Input: ${files.length} files, ${mega(bytes)}, ${from}.\n`)

  const stage = new Stage()
  const started = monotonicMs()
  const unit = await stage.startUnit(regionBytes + 16 * MiB)
  say(`1. A persistent memory unit runs as process ${unit.process.pid} at ${unit.address} (${since(started)}).`)
  say(`   Its pool is the file ${unit.poolFile}: what is saved there also survives the unit.`)

  // Without pauses, a small input would be finished before the primary could be killed.
  const pauseMs = bytes < 10e6 ? 20 : 0
  const assignment = { unit: unit.address, region: regionName, regionBytes, files, pauseMs }
  const primary = stage.start('primary', assignment)
  await primary.until('owner')
  say(`2. The primary, process ${primary.process.pid}, has created a region there and owns it.`)

  const backup = stage.start('backup', assignment)
  await backup.until('standing-by')
  say(
    `3. The backup, process ${backup.process.pid}, runs the same program. The region has an owner, so the backup stands by.`,
  )

  primary.tellToStart()
  let saved = await primary.until('saved')
  say(`4. The primary counts words and saves its state after each step (${saved.durability}).`)

  let killedAt = 0
  for (let report = await primary.next(); report; report = await primary.next()) {
    if (report.type === 'finished')
      throw new Error('the primary finished before it could be killed: give it more input')
    if (report.type !== 'saved') continue
    saved = report
    if (killedAt > 0 || bytesBefore(files, saved.position) < bytes / 2) continue
    killedAt = monotonicMs()
    primary.process.kill('SIGKILL')
  }
  if (killedAt === 0) throw new Error('the primary ended by itself; its error is printed above')
  say(`5. The primary is killed (SIGKILL) half-way: its last acknowledged checkpoint is number ${saved.sequence}, at`)
  say(`   ${mega(bytesBefore(files, saved.position))} of the input.`)

  const takenOver = await backup.until('taken-over')
  const parts = partsOf(killedAt, takenOver)
  say(
    `6. The backup owns the region, and continues from checkpoint ${takenOver.recovered} (${mega(takenOver.stateBytes)}):`,
  )
  say(`   ${parts.noticed.toFixed(1)} ms from the kill until it knew that the owner was lost,`)
  say(`   ${parts.takenOver.toFixed(1)} ms until it owned the region,`)
  say(`   ${parts.stateRead.toFixed(1)} ms to read and decode the state,`)
  say(`   ${parts.firstWrite.toFixed(1)} ms for its own first checkpoint: ${parts.inAll.toFixed(1)} ms in all.`)

  await backup.until('finished')
  const { result, checkpoints, transport } = await readResult(unit.address)
  say(
    `7. The backup has finished the work; the log goes up to checkpoint ${checkpoints} (${since(started)} since the start).`,
  )
  const undisturbed = countAll(files)
  const resultMatches = result.equals(undisturbed)
  say(
    `8. The same work undisturbed, in one process: ${undisturbed.words} words, ${undisturbed.distinct} distinct ones.`,
  )
  say(
    `   Most frequent: ${undisturbed
      .top(5)
      .map(([word, count]) => `${word} ${count}`)
      .join(', ')}.`,
  )
  // Every acknowledged checkpoint must be there. One more may have been in flight when the primary died.
  const nothingLost = BigInt(takenOver.recovered) >= BigInt(saved.sequence)
  if (!resultMatches) say('   The results DIFFER.')
  else if (!nothingLost) say('   An acknowledged checkpoint was LOST.')
  else say('   The results are equal: no word was lost or counted twice.')

  if (asJson) {
    const summary = {
      unit: unit.address,
      transport,
      checkpoints: Number(checkpoints),
      killedAfter: Number(saved.sequence),
      recovered: Number(takenOver.recovered),
      bytes,
      takeoverMs: tenths(parts.inAll),
      partsMs: {
        noticed: tenths(parts.noticed),
        takenOver: tenths(parts.takenOver),
        stateRead: tenths(parts.stateRead),
        firstWrite: tenths(parts.firstWrite),
      },
      resultMatches,
    }
    say(JSON.stringify(summary))
  }
  return resultMatches && nothingLost
}

/** A third process reads the end of the log: reading needs no ownership. @param {string} unit */
async function readResult(unit) {
  const client = await connect(unit)
  const region = await client.openRegion(regionName)
  const latest = await region.checkpoints({ codec: stateCodec }).latest()
  await client.close()
  return { result: new WordCount(latest?.value), checkpoints: latest?.sequence ?? 0n, transport: region.transport }
}

/**
 * How long each part of the takeover took, in milliseconds.
 * @param {number} killedAt
 * @param {Extract<import('./demo/messages.js').Report, { type: 'taken-over' }>} takenOver
 */
function partsOf(killedAt, { noticedAt, openedAt, restoredAt, savedAt }) {
  return {
    noticed: noticedAt - killedAt,
    takenOver: openedAt - noticedAt,
    stateRead: restoredAt - openedAt,
    firstWrite: savedAt - restoredAt,
    inAll: savedAt - killedAt,
  }
}

/** @param {number} ms */
function tenths(ms) {
  return Math.round(ms * 10) / 10
}

/** @param {number} bytes */
function mega(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`
}

/** @param {number} start */
function since(start) {
  return `${((monotonicMs() - start) / 1000).toFixed(1)} s`
}

const { values, positionals } = parseArgs({
  options: { json: { type: 'boolean', default: false } },
  allowPositionals: true,
})
demo(positionals, values.json)
  .then((passed) => process.exit(passed ? 0 : 1))
  .catch((error) => {
    console.error(`The demo failed: ${error instanceof Error ? error.message : error}`)
    if (error?.help) console.error(error.help)
    process.exit(1)
  })
