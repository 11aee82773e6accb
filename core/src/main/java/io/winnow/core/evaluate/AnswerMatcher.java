package io.winnow.core.evaluate;

import com.google.common.base.CharMatcher;
import com.google.common.base.Splitter;
import com.google.common.collect.HashMultiset;
import com.google.common.collect.Multiset;
import com.google.common.collect.Multisets;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.scoring.PythonText;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import org.jspecify.annotations.Nullable;

/**
 * Decides whether a generated text is an accepted answer.
 *
 * <p>Exact match and token F1 are those of SQuAD's official evaluation script (Rajpurkar et al.,
 * arXiv 1806.03822; version 2.0): texts are compared in lower case, without ASCII punctuation,
 * without the articles a, an and the, and with single blanks. Immutable and thread-safe.
 */
public final class AnswerMatcher {
  /** How texts are brought into one form before they are compared. */
  public enum Normalization {
    /** As SQuAD does. It makes 42 of -42, and 35 of 3.5. */
    SQUAD,
    /** Only blanks at both ends are removed; for numbers. */
    NONE
  }

  // Python's \b and \w know letters and numbers of all scripts; the underscore is gone by then.
  private static final Pattern ARTICLES =
      Pattern.compile("(?<![\\p{L}\\p{N}])(?:a|an|the)(?![\\p{L}\\p{N}])");
  private static final String PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
  private static final Splitter WORDS =
      Splitter.on(CharMatcher.forPredicate(PythonText::isBlank)).omitEmptyStrings();

  private final Normalization normalization;
  private final @Nullable Pattern extraction;
  private final boolean last;

  private AnswerMatcher(Normalization normalization, @Nullable Pattern extraction, boolean last) {
    this.normalization = normalization;
    this.extraction = extraction;
    this.last = last;
  }

  /** Returns the matcher that compares whole texts as SQuAD does. */
  public static AnswerMatcher squad() {
    return new AnswerMatcher(Normalization.SQUAD, null, false);
  }

  /** Returns a matcher that normalises like this. */
  public AnswerMatcher withNormalization(Normalization newNormalization) {
    return new AnswerMatcher(newNormalization, extraction, last);
  }

  /**
   * Returns a matcher that looks only at the first match of a regular expression in the generated
   * text: at its first group that took part, or all of it if it has no groups. A text without a
   * match is wrong. Accepted answers are cut in the same way where the expression matches them
   * ({@code #### 42} in GSM8K).
   *
   * <p>An expression that takes too long on a text is given up with an exception.
   *
   * @throws InvalidInputException if it is no regular expression of Java
   */
  public AnswerMatcher withExtraction(String expression) {
    return extraction(expression, false);
  }

  /** Returns a matcher like {@link #withExtraction}, which looks at the last match instead. */
  public AnswerMatcher withLastExtraction(String expression) {
    return extraction(expression, true);
  }

  private AnswerMatcher extraction(String expression, boolean lastMatch) {
    try {
      return new AnswerMatcher(normalization, Pattern.compile(expression), lastMatch);
    } catch (PatternSyntaxException e) {
      throw new InvalidInputException(
          String.format(
              "'%s' is no regular expression of Java: %s at character %d; correct it",
              expression, e.getDescription(), e.getIndex()),
          e);
    }
  }

  /**
   * Returns the part of a generated text that counts; empty if the expression does not match.
   *
   * @throws InvalidInputException if the expression takes too long
   */
  public Optional<String> extract(String text) {
    if (extraction == null) {
      return Optional.of(text);
    }
    Optional<String> found = Optional.empty();
    try {
      Matcher matcher = extraction.matcher(new BoundedText(text));
      while (matcher.find() && (last || found.isEmpty())) {
        found = Optional.of(group(matcher));
      }
    } catch (StackOverflowError e) {
      throw new InvalidInputException(
          String.format(
              "The regular expression '%s' recurses too deeply on a text of %d characters; simplify"
                  + " its repeated groups",
              extraction, text.length()),
          e);
    }
    return found;
  }

  private static String group(Matcher matcher) {
    for (int group = 1; group <= matcher.groupCount(); group++) {
      String text = matcher.group(group);
      if (text != null) {
        return text;
      }
    }
    return matcher.group();
  }

  /** Judges a generated text. */
  OpenResult.Answer judge(OpenQuestion question, String text) {
    Optional<String> extracted = extract(text);
    boolean exact = false;
    double f1 = 0;
    if (extracted.isPresent()) {
      for (String answer : question.answers()) {
        String reference = extract(answer).orElse(answer);
        exact |= normalize(extracted.get()).equals(normalize(reference));
        f1 = Math.max(f1, f1(extracted.get(), reference));
      }
    }
    return new OpenResult.Answer(question, text, extracted, exact, f1);
  }

  /** Returns a text in the form in which texts are compared. */
  public String normalize(String text) {
    if (normalization == Normalization.NONE) {
      return text.strip();
    }
    StringBuilder kept = new StringBuilder();
    text.toLowerCase(Locale.ROOT)
        .codePoints()
        .filter(character -> PUNCTUATION.indexOf(character) < 0)
        .forEach(kept::appendCodePoint);
    return String.join(" ", WORDS.split(ARTICLES.matcher(kept).replaceAll(" ")));
  }

  /**
   * Returns the harmonic mean of precision and recall of a text's words in another's, 0 to 1; where
   * either has no words, 1 if both have none.
   */
  public double f1(String text, String reference) {
    List<String> words = WORDS.splitToList(normalize(text));
    List<String> expected = WORDS.splitToList(normalize(reference));
    if (words.isEmpty() || expected.isEmpty()) {
      return words.equals(expected) ? 1 : 0;
    }
    Multiset<String> common =
        Multisets.intersection(HashMultiset.create(words), HashMultiset.create(expected));
    double same = common.size();
    if (same == 0) {
      return 0;
    }
    double precision = same / words.size();
    double recall = same / expected.size();
    return 2 * precision * recall / (precision + recall);
  }
}
