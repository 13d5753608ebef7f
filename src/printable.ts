/** Makes text from elsewhere safe to show: a client may put anything into names and identities. */

/** Escapes control and format characters, so that the text cannot control a terminal or a log viewer. */
export function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu,
    (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
  )
}

/** The same, cut to this many characters (each escape counts as one), plus a mark if it was cut. */
export function printableUpTo(most: number, text: string): string {
  if (text.length <= most) return printable(text)
  return `${printable(text.slice(0, most))}… (${text.length} characters)`
}
