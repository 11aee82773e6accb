package io.winnow.core.internal.file;

import io.winnow.core.InvalidInputException;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.Reader;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.Charset;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.zip.GZIPInputStream;
import org.jspecify.annotations.Nullable;

/**
 * Text files as they are distributed: plain or compressed by gzip, in UTF-8, UTF-16 or UTF-32, with
 * a byte order mark or without. What the first bytes say counts, not the name.
 */
public final class TextInput {
  private static final int BUFFER_BYTES = 1 << 16;
  private static final int HEAD_BYTES = 64;
  private static final byte[] LFS_POINTER =
      "version https://git-lfs".getBytes(StandardCharsets.US_ASCII);

  /** Formats that hold text which is not read, by their first bytes. */
  private enum Refused {
    GZIP("gzip data within gzip data", "Decompress it once: gunzip FILE", 0x1f, 0x8b),
    ZSTANDARD("compressed by Zstandard", "Decompress it: zstd -d FILE", 0x28, 0xb5, 0x2f, 0xfd),
    XZ("compressed by xz", "Decompress it: xz -d FILE", 0xfd, '7', 'z', 'X', 'Z', 0),
    BZIP2("compressed by bzip2", "Decompress it: bunzip2 FILE", 'B', 'Z', 'h'),
    ZIP("a ZIP archive", "Unpack it: unzip FILE", 'P', 'K', 3, 4),
    PARQUET("a Parquet file", export("parquet"), 'P', 'A', 'R', '1'),
    ARROW("an Arrow file", export("arrow"), 'A', 'R', 'R', 'O', 'W', '1'),
    NUMPY(
        "a NumPy array",
        "Token ids belong in a .safetensors file, as the tensor input_ids [sequences, length]",
        0x93,
        'N',
        'U',
        'M',
        'P',
        'Y');

    private final String what;
    private final String cure;
    private final byte[] magic;

    Refused(String what, String cure, int... magic) {
      this.what = what;
      this.cure = cure;
      this.magic = new byte[magic.length];
      for (int i = 0; i < magic.length; i++) {
        this.magic[i] = (byte) magic[i];
      }
    }

    private static String export(String format) {
      return "Write its rows as JSON lines, for example with the Python library datasets:"
          + " load_dataset(\""
          + format
          + "\", data_files=\"FILE\", split=\"train\").to_json(\"FILE.jsonl\")";
    }
  }

  private TextInput() {}

  /**
   * Opens a file.
   *
   * @return its text in UTF-8, decompressed and without a byte order mark, which the caller closes;
   *     UTF-8 itself is not checked
   * @throws InvalidInputException if it is in a format that is not read. Reading throws it where
   *     UTF-16 or UTF-32 is malformed
   */
  public static InputStream open(Path file) throws IOException {
    InputStream in = buffered(Files.newInputStream(file));
    try {
      byte[] head = peek(in);
      if (startsWith(head, Refused.GZIP.magic)) {
        in = buffered(new GZIPInputStream(in, BUFFER_BYTES));
        head = peek(in);
      }
      requireText(file, head);
      int mark = startsWith(head, 0xef, 0xbb, 0xbf) ? 3 : 0;
      Charset charset = charset(head);
      if (charset != null) {
        return new Transcoder(file, in, charset);
      }
      in.skipNBytes(mark);
      return in;
    } catch (IOException | RuntimeException e) {
      in.close();
      throw e;
    }
  }

  private static InputStream buffered(InputStream in) {
    return new BufferedInputStream(in, BUFFER_BYTES);
  }

  private static byte[] peek(InputStream in) throws IOException {
    in.mark(HEAD_BYTES);
    byte[] head = in.readNBytes(HEAD_BYTES);
    in.reset();
    return head;
  }

  private static void requireText(Path file, byte[] head) {
    for (Refused format : Refused.values()) {
      if (startsWith(head, format.magic)) {
        throw new InvalidInputException(
            file
                + " is "
                + format.what
                + ", which is not read. "
                + format.cure.replace("FILE", String.valueOf(file.getFileName()))
                + ". Read are text and gzip.");
      }
    }
    if (startsWith(head, LFS_POINTER)) {
      throw new InvalidInputException(
          file
              + " is only a pointer to a file in Git's large file storage. Fetch the content with"
              + " 'git lfs pull'.");
    }
  }

  /** Returns what to decode from, or null for UTF-8. */
  private static @Nullable Charset charset(byte[] head) {
    if (startsWith(head, 0xff, 0xfe, 0, 0)) {
      return Charset.forName("UTF-32");
    }
    if (startsWith(head, 0, 0, 0xfe, 0xff)) {
      return Charset.forName("UTF-32");
    }
    if (startsWith(head, 0xff, 0xfe) || startsWith(head, 0xfe, 0xff)) {
      return StandardCharsets.UTF_16; // Which takes the byte order from the mark.
    }
    // Without a mark: every second byte of mostly Latin letters is zero.
    int even = 0;
    int odd = 0;
    for (int i = 0; i + 1 < head.length; i += 2) {
      even += head[i] == 0 ? 1 : 0;
      odd += head[i + 1] == 0 ? 1 : 0;
    }
    int pairs = head.length / 2;
    if (pairs < 2 || even + odd < pairs / 2 || even > 0 && odd > 0) {
      return null;
    }
    return even > 0 ? StandardCharsets.UTF_16BE : StandardCharsets.UTF_16LE;
  }

  private static boolean startsWith(byte[] head, int... magic) {
    if (head.length < magic.length) {
      return false;
    }
    for (int i = 0; i < magic.length; i++) {
      if (head[i] != (byte) magic[i]) {
        return false;
      }
    }
    return true;
  }

  private static boolean startsWith(byte[] head, byte[] magic) {
    return head.length >= magic.length
        && Arrays.equals(head, 0, magic.length, magic, 0, magic.length);
  }

  /** What is in another encoding, in UTF-8. */
  private static final class Transcoder extends InputStream {
    private final Path file;
    private final Charset charset;
    private final Reader reader;
    private final char[] characters = new char[BUFFER_BYTES];
    private byte[] bytes = new byte[0];
    private int next;

    Transcoder(Path file, InputStream in, Charset charset) {
      this.file = file;
      this.charset = charset;
      reader =
          new InputStreamReader(
              in,
              charset
                  .newDecoder()
                  .onMalformedInput(CodingErrorAction.REPORT)
                  .onUnmappableCharacter(CodingErrorAction.REPORT));
    }

    @Override
    public int read() throws IOException {
      return fill() ? bytes[next++] & 0xff : -1;
    }

    @Override
    public int read(byte[] target, int offset, int length) throws IOException {
      if (length == 0) {
        return 0;
      }
      if (!fill()) {
        return -1;
      }
      int count = Math.min(length, bytes.length - next);
      System.arraycopy(bytes, next, target, offset, count);
      next += count;
      return count;
    }

    private boolean fill() throws IOException {
      if (next < bytes.length) {
        return true;
      }
      int count;
      try {
        count = reader.read(characters);
      } catch (CharacterCodingException e) {
        throw new InvalidInputException(
            String.format(
                "%s is not %s text, though its first bytes say so. Convert it to UTF-8, for example"
                    + " with iconv, from the encoding that it has.",
                file, charset),
            e);
      }
      // A decoder never ends with half a pair of surrogates.
      bytes = new String(characters, 0, Math.max(0, count)).getBytes(StandardCharsets.UTF_8);
      next = 0;
      return count > 0;
    }

    @Override
    public void close() throws IOException {
      reader.close();
    }
  }
}
