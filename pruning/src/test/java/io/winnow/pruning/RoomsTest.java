package io.winnow.pruning;

import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideInAPackage;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.methods;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.Architectures.layeredArchitecture;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;

import com.tngtech.archunit.base.DescribedPredicate;
import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaMethod;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.lang.ArchCondition;
import com.tngtech.archunit.lang.ArchRule;
import com.tngtech.archunit.lang.ConditionEvents;
import com.tngtech.archunit.lang.SimpleConditionEvent;
import java.util.stream.Stream;

/** The rooms of pruning, and which may know which. */
@AnalyzeClasses(
    packages = "io.winnow.pruning",
    importOptions = ImportOption.DoNotIncludeTests.class)
class RoomsTest {
  private static final String ROOT = "io.winnow.pruning";

  @ArchTest
  static final ArchRule noRoomKnowsItselfThroughAnother =
      slices().matching("(io.winnow.pruning..)").should().beFreeOfCycles();

  @ArchTest
  static final ArchRule roomsKnowOnlyThoseBelow =
      layeredArchitecture()
          .consideringOnlyDependenciesInAnyPackage("io.winnow.pruning..")
          .layer("evolve")
          .definedBy(ROOT + ".evolve")
          .layer("sparsify")
          .definedBy(ROOT + ".sparsify")
          .layer("shrink")
          .definedBy(ROOT + ".shrink")
          .layer("pruning")
          .definedBy(ROOT)
          .layer("shrink inside")
          .definedBy(ROOT + ".internal.shrink")
          .layer("evolve inside")
          .definedBy(ROOT + ".internal.evolve")
          .layer("stream")
          .definedBy(ROOT + ".internal.stream")
          .layer("search")
          .definedBy(ROOT + ".internal.search")
          .layer("table")
          .definedBy(ROOT + ".internal.table")
          .layer("file")
          .definedBy(ROOT + ".internal.file")
          .layer("work")
          .definedBy(ROOT + ".internal.work")
          .whereLayer("evolve")
          .mayNotBeAccessedByAnyLayer()
          .whereLayer("sparsify")
          .mayNotBeAccessedByAnyLayer()
          .whereLayer("shrink")
          .mayNotBeAccessedByAnyLayer()
          .whereLayer("pruning")
          .mayOnlyBeAccessedByLayers("evolve", "shrink")
          .whereLayer("shrink inside")
          .mayOnlyBeAccessedByLayers("shrink")
          .whereLayer("evolve inside")
          .mayOnlyBeAccessedByLayers("evolve")
          .whereLayer("stream")
          .mayOnlyBeAccessedByLayers("pruning")
          .whereLayer("search")
          .mayOnlyBeAccessedByLayers("pruning", "shrink")
          .whereLayer("table")
          .mayOnlyBeAccessedByLayers("pruning", "stream", "search");

  @ArchTest
  static final ArchRule tablesAndSearchKnowNoCheckpoint =
      noClasses()
          .that()
          .resideInAnyPackage(ROOT + ".internal.search", ROOT + ".internal.work")
          .should()
          .dependOnClassesThat()
          .haveSimpleName("LayerwiseModel");

  @ArchTest
  static final ArchRule whatHostsCallSpeaksNoGson =
      methods()
          .that()
          .arePublic()
          .and()
          .areDeclaredInClassesThat(
              resideInAPackage("io.winnow.pruning..")
                  .and(DescribedPredicate.not(resideInAPackage("..internal.."))))
          .should(notName("com.google.gson", "..internal.."));

  /** Neither parameters nor the result of a method of a public class are of these packages. */
  private static ArchCondition<JavaMethod> notName(String... packages) {
    return new ArchCondition<>("have no type of another house in the signature") {
      @Override
      public void check(JavaMethod method, ConditionEvents events) {
        if (!method
            .getOwner()
            .getModifiers()
            .contains(com.tngtech.archunit.core.domain.JavaModifier.PUBLIC)) {
          return;
        }
        Stream.concat(method.getRawParameterTypes().stream(), Stream.of(method.getRawReturnType()))
            .filter(type -> Stream.of(packages).anyMatch(p -> resideIn(type, p)))
            .forEach(
                type ->
                    events.add(
                        SimpleConditionEvent.violated(
                            method, method.getFullName() + " names " + type.getName())));
      }
    };
  }

  private static boolean resideIn(JavaClass type, String packages) {
    return resideInAPackage(packages).test(type.getBaseComponentType());
  }
}
