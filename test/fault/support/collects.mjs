// Preloaded by a unit whose memory a test measures: SIGUSR2 collects all garbage.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')
process.on('SIGUSR2', () => {
  for (let i = 0; i < 3; i++) collect()
})
