package io.winnow.examples.report;

import com.google.common.base.Throwables;
import com.google.errorprone.annotations.CanIgnoreReturnValue;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.PartialOutput;
import io.winnow.examples.report.chart.Figure;
import io.winnow.examples.report.chart.Theme;
import io.winnow.examples.report.result.ComparisonResult;
import io.winnow.examples.report.result.EvolutionResult;
import io.winnow.examples.report.result.ExpertPairs;
import io.winnow.examples.report.result.PruningResult;
import io.winnow.examples.report.result.SkipRates;
import java.awt.Font;
import java.awt.font.FontRenderContext;
import java.awt.font.TextLayout;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.stream.Stream;

/**
 * A page about a model's experts and what pruning, skipping and merging make of them: one HTML file
 * that needs no other and no network, and its charts as PNG files.
 *
 * <p>The same inputs give the same bytes, with the same version of Java and the same fonts.
 * Immutable.
 */
public final class Report {
  private final String title;
  private final List<Fact> facts;
  private final List<Section> sections;

  private Report(String title, List<Fact> facts, List<Section> sections) {
    this.title = title;
    this.facts = List.copyOf(facts);
    this.sections = List.copyOf(sections);
  }

  /** A line of the summary. */
  record Fact(String name, String value) {}

  /**
   * Returns a builder of a report with this headline.
   *
   * @throws InvalidInputException if Java finds no font to draw with
   */
  public static Builder builder(String title) {
    requireFonts();
    return new Builder(title);
  }

  /** Java on a bare server has none, and finds out when a chart is drawn. */
  private static void requireFonts() {
    try {
      var unused =
          new TextLayout(
                  "0",
                  new Font(Font.SANS_SERIF, Font.PLAIN, 11),
                  new FontRenderContext(null, true, false))
              .getBounds();
    } catch (RuntimeException | InternalError | LinkageError e) {
      throw new InvalidInputException(
          "Java cannot draw letters here ("
              + Throwables.getRootCause(e)
              + "); install fontconfig and a font, such as DejaVu Sans",
          e);
    }
  }

  String title() {
    return title;
  }

  List<Fact> facts() {
    return facts;
  }

  List<Section> sections() {
    return sections;
  }

  /** Returns the titles of the sections, in their order. */
  public List<String> sectionTitles() {
    return sections.stream().map(Section::title).toList();
  }

  /**
   * Writes {@code report.html} and, for each chart, {@code NAME.png} and {@code NAME-dark.png} into
   * a new folder, which appears under its name when it is complete.
   *
   * @throws InvalidInputException if the folder exists, or cannot be created
   * @throws IOException if a file cannot be written; the folder does not exist then
   * @throws CancellationException if the thread is interrupted, which it stays; likewise
   */
  public void write(Path folder) throws IOException {
    try (PartialOutput output = PartialOutput.forFolder(folder)) {
      HtmlPage page = new HtmlPage(this);
      for (Section section : sections) {
        for (Figure figure : section.figures()) {
          if (Thread.currentThread().isInterrupted()) {
            throw new CancellationException("The report was interrupted");
          }
          for (Theme theme : Theme.values()) {
            byte[] png = figure.png(theme);
            page.add(figure, theme, png);
            Files.write(output.path().resolve(figure.name() + theme.suffix() + ".png"), png);
          }
        }
      }
      Files.writeString(output.path().resolve("report.html"), page.html());
      output.complete();
    }
  }

  /** Collects what a report is about. Sections appear for what was given only. Not thread-safe. */
  public static final class Builder {
    private final String title;
    private final List<Fact> facts = new ArrayList<>();
    private final List<ExpertPairs> pairs = new ArrayList<>();
    private final List<PruningResult> results = new ArrayList<>();
    private final List<PruningResult> curves = new ArrayList<>();
    private final List<SkipRates> skipping = new ArrayList<>();
    private final List<EvolutionResult> evolution = new ArrayList<>();
    private final List<ComparisonResult> comparisons = new ArrayList<>();
    private List<Integer> layers = List.of();

    private Builder(String title) {
      this.title = title;
    }

    /** Adds a line to the summary. */
    @CanIgnoreReturnValue
    public Builder addFact(String name, String value) {
      facts.add(new Fact(name, value));
      return this;
    }

    /** Adds the pairs of experts that the tokens of a text select. */
    @CanIgnoreReturnValue
    public Builder addPairs(ExpertPairs newPairs) {
      pairs.add(newPairs);
      return this;
    }

    /** Adds a choice of experts: to see itself, and a point of the curve of its calibration. */
    @CanIgnoreReturnValue
    public Builder addPruning(PruningResult result) {
      results.add(result);
      return addCurvePoint(result);
    }

    /** Adds a choice of experts as a point of the curve of its calibration and method. */
    @CanIgnoreReturnValue
    public Builder addCurvePoint(PruningResult result) {
      curves.add(result);
      return this;
    }

    /** Adds what a skip policy skips. */
    @CanIgnoreReturnValue
    public Builder addSkipRates(SkipRates rates) {
      skipping.add(rates);
      return this;
    }

    /** Adds the course and the result of an evolutionary search. */
    @CanIgnoreReturnValue
    public Builder addEvolution(EvolutionResult result) {
      evolution.add(result);
      return this;
    }

    /** Adds a table of compared models. */
    @CanIgnoreReturnValue
    public Builder addComparison(ComparisonResult comparison) {
      comparisons.add(comparison);
      return this;
    }

    /** Sets the layers that get charts of their own; without it, up to eight. */
    public Builder optLayers(List<Integer> newLayers) {
      layers = List.copyOf(newLayers);
      return this;
    }

    /**
     * Builds the report.
     *
     * @throws InvalidInputException if there is nothing to show, or none of the wanted layers
     */
    public Report build() {
      ShownLayers shown = new ShownLayers(layers);
      List<Section> sections =
          Stream.of(
                  ComparisonSection.of(comparisons),
                  KeptSection.of(results),
                  LossSection.of(curves),
                  SubsetsSection.of(results, shown),
                  PairsSection.of(pairs, shown),
                  SkipSection.of(skipping),
                  EvolutionSections.curves(evolution),
                  EvolutionSections.matrices(evolution, shown))
              .flatMap(Optional::stream)
              .toList();
      if (sections.isEmpty()) {
        throw new InvalidInputException("There is nothing to report: nothing was given to show");
      }
      return new Report(title, facts, distinct(sections));
    }

    /** Two files of one name in different folders must not become one chart. */
    private static List<Section> distinct(List<Section> sections) {
      Set<String> names = new HashSet<>();
      List<Section> result = new ArrayList<>();
      for (Section section : sections) {
        List<Figure> figures = new ArrayList<>();
        for (Figure figure : section.figures()) {
          String name = figure.name();
          for (int i = 2; !names.add(name); i++) {
            name = figure.name() + "-" + i;
          }
          figures.add(new Figure(name, figure.alt(), figure.drawing()));
        }
        result.add(
            new Section(section.id(), section.title(), section.what(), figures, section.tables()));
      }
      return result;
    }
  }
}
