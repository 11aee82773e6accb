package io.winnow.core.calibration;

import ai.djl.huggingface.tokenizers.Encoding;
import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import ai.djl.huggingface.tokenizers.jni.LibUtils;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.environment.Telemetry;
import io.winnow.core.internal.file.TokenizerFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/**
 * A model's tokenizer, reduced to what Winnow needs: all of a text's token ids, and back.
 *
 * <p>Hugging Face tokenizers cut a text at 512 tokens unless told otherwise, and may pad it; this
 * one never does, so a long text's tokens are all there or there is an exception.
 *
 * <p>Encoding and decoding may be done from several threads at the same time. {@link #close} must
 * come after the last of them. Whoever {@linkplain #open opens} a tokenizer closes it; one that was
 * {@linkplain #wrap wrapped} remains its owner's to close.
 */
public final class TextTokenizer implements AutoCloseable {
  private static final String FILE = TokenizerFiles.NAME;

  /** Characters from which on a text may take much of Java's memory. */
  private static final int LONG_TEXT = 1 << 20;

  /** Characters of which the tokens are counted to know how many a long text has. */
  private static final int SAMPLE = 1 << 16;

  /** Of Java's memory: 1,000,000 tokens end the JVM with 128 MiB and do not with 160. */
  private static final long BYTES_PER_TOKEN = 150;

  private final HuggingFaceTokenizer tokenizer;
  private final boolean owned;

  private TextTokenizer(HuggingFaceTokenizer tokenizer, boolean owned) {
    this.tokenizer = tokenizer;
    this.owned = owned;
  }

  /**
   * Opens a model's tokenizer. Works without a network.
   *
   * @param folderOrTokenizerJson the model's folder with its {@code tokenizer.json}, or that file
   * @return the tokenizer, which the caller closes
   * @throws InvalidInputException if there is no {@code tokenizer.json}, or it is damaged
   */
  public static TextTokenizer open(Path folderOrTokenizerJson) {
    boolean folder = Files.isDirectory(folderOrTokenizerJson);
    Path file = folder ? folderOrTokenizerJson.resolve(FILE) : folderOrTokenizerJson;
    if (!Files.isRegularFile(file)) {
      if (folder) {
        throw new InvalidInputException(TokenizerFiles.missing(folderOrTokenizerJson));
      }
      throw new InvalidInputException(
          "There is no tokenizer at "
              + file
              + ". Text needs the model's Hugging Face "
              + FILE
              + ": put it there, or give its path. Token ids in a .safetensors file (tensor"
              + " input_ids, [sequences, length]) work without one.");
    }
    Telemetry.off();
    loadLibrary();
    try {
      return new TextTokenizer(
          HuggingFaceTokenizer.builder()
              .optTokenizerPath(file)
              .optTruncation(false)
              .optPadding(false)
              .build(),
          true);
    } catch (IOException e) {
      throw new InvalidInputException("The tokenizer " + file + " cannot be read: " + e, e);
    } catch (RuntimeException e) {
      // What the native library throws where it cannot make a tokenizer of the JSON.
      throw new InvalidInputException(
          "The tokenizer "
              + file
              + " is damaged or of a kind that is not known here: "
              + e.getMessage()
              + ". Copy it again from the model's source.",
          e);
    }
  }

  /**
   * Wraps a tokenizer that the host has already. Its truncation and padding do not matter, within
   * the limits of what can be undone: padding is removed, and a text that it truncates is refused
   * when it is encoded. Its other settings (lower case, prefix space) hold.
   *
   * @param tokenizer the tokenizer; it must stay open as long as the wrapper is used, and its owner
   *     closes it
   * @return the wrapper, whose {@link #close} does nothing
   */
  public static TextTokenizer wrap(HuggingFaceTokenizer tokenizer) {
    return new TextTokenizer(tokenizer, false);
  }

  /**
   * Returns a text's token ids without special tokens: what texts are run and measured by. A
   * special token spelled out in the text ({@code </s>}) still becomes that token, as in Hugging
   * Face Transformers.
   *
   * @param text the text; an empty one has no tokens
   * @return all its token ids, {@code [tokens]}
   * @throws InvalidInputException if a wrapped tokenizer truncates the text, the text is not valid
   *     Unicode, or so long that its tokens would not fit into Java's memory
   */
  public long[] encode(String text) {
    return encode(text, false);
  }

  /**
   * Returns a text's token ids with the special tokens that the tokenizer puts around it: what a
   * model is prompted with. Those that it puts before a text are not put before one that begins
   * with them already, as what a chat template makes does: a model has never seen its begin-of-text
   * token twice.
   *
   * @param text the text
   * @return all its token ids, {@code [tokens]}
   * @throws InvalidInputException if a wrapped tokenizer truncates the text, the text is not valid
   *     Unicode, or so long that its tokens would not fit into Java's memory
   */
  public long[] encodeWithSpecialTokens(String text) {
    return encode(text, true);
  }

  /**
   * Returns the text of token ids, leaving out special tokens and ids the tokenizer does not know.
   *
   * @param ids the token ids, {@code [tokens]}
   * @return the text
   */
  public String decode(long[] ids) {
    return tokenizer.decode(ids, true);
  }

  /** Frees the native tokenizer if this object opened it. Closing again does nothing. */
  @Override
  public void close() {
    if (owned) {
      tokenizer.close();
    }
  }

  private long[] encode(String text, boolean specialTokens) {
    requireUnicode(text);
    if (text.length() >= LONG_TEXT) {
      int end = Character.isHighSurrogate(text.charAt(SAMPLE - 1)) ? SAMPLE - 1 : SAMPLE;
      long tokens = tokenizer.encode(text.substring(0, end), false, false).getIds().length;
      requireMemory(tokens, text.length(), Runtime.getRuntime().maxMemory());
    }
    // Overflowing tokens are not asked for: exceedMaxLength tells of them without building them.
    Encoding encoding = tokenizer.encode(text, specialTokens, false);
    if (encoding.exceedMaxLength()) {
      throw new InvalidInputException(
          "The tokenizer truncates texts at "
              + tokenizer.getMaxLength()
              + " tokens (truncation "
              + tokenizer.getTruncation()
              + "), which would lose the rest of this one. Build it with optTruncation(false), or"
              + " open the model's tokenizer.json with TextTokenizer.open.");
    }
    long[] ids = withoutPadding(encoding);
    return specialTokens ? withoutSecondPrefix(ids, prefixLength(encoding)) : ids;
  }

  /**
   * Refuses what would not fit: where Java's memory is full, the native library ends the JVM.
   *
   * @param tokens of the first {@link #SAMPLE} characters
   * @param available bytes
   */
  static void requireMemory(long tokens, int characters, long available) {
    long needed = BYTES_PER_TOKEN * tokens * characters / SAMPLE;
    if (needed > available) {
      throw new InvalidInputException(
          String.format(
              "A text of %d characters takes some %d MB of Java's memory while it is cut into tokens,"
                  + " and there are %d MB. Cut it into shorter documents, or give Java more (-Xmx; in"
                  + " WINNOW_JAVA_OPTS for the command)",
              characters, needed >> 20, available >> 20));
    }
  }

  /** Returns how many tokens the tokenizer put before the text's own. */
  private static int prefixLength(Encoding encoding) {
    long[] added = encoding.getSpecialTokenMask();
    long[] mask = encoding.getAttentionMask();
    int length = 0;
    for (int i = 0; i < added.length && (mask[i] == 0 || added[i] != 0); i++) {
      length += mask[i] == 0 ? 0 : 1;
    }
    return length;
  }

  private static long[] withoutSecondPrefix(long[] ids, int length) {
    boolean twice =
        length > 0
            && 2 * length <= ids.length
            && Arrays.equals(ids, 0, length, ids, length, 2 * length);
    return twice ? Arrays.copyOfRange(ids, length, ids.length) : ids;
  }

  private static long[] withoutPadding(Encoding encoding) {
    long[] ids = encoding.getIds();
    long[] mask = encoding.getAttentionMask();
    int kept = 0;
    for (int i = 0; i < ids.length; i++) {
      if (mask[i] != 0) {
        ids[kept++] = ids[i];
      }
    }
    return kept == ids.length ? ids : Arrays.copyOf(ids, kept);
  }

  /** Half a surrogate pair has no UTF-8, and what the native side makes of it is not defined. */
  private static void requireUnicode(String text) {
    for (int i = 0; i < text.length(); i++) {
      char unit = text.charAt(i);
      if (Character.isSurrogate(unit)) {
        if (Character.isHighSurrogate(unit)
            && i + 1 < text.length()
            && Character.isLowSurrogate(text.charAt(i + 1))) {
          i++;
        } else {
          throw new InvalidInputException(
              String.format(
                  "The text is not valid Unicode: half a surrogate pair, \\u%04x, at character %d."
                      + " Remove it, or decode the text again from its source.",
                  (int) unit, i));
        }
      }
    }
  }

  /**
   * Loads the native library, in the variant that comes with its jar. Left to itself DJL downloads
   * another one, built for CUDA, where it finds a GPU; tokenizing has no use for it, and the
   * machine may have no network. A variant that the host has chosen, or loaded, is used.
   */
  private static void loadLibrary() {
    String variant = "RUST_FLAVOR";
    boolean chosen = System.getProperties().putIfAbsent(variant, "cpu") != null;
    try {
      LibUtils.checkStatus();
    } finally {
      if (!chosen) {
        System.clearProperty(variant);
      }
    }
  }
}
